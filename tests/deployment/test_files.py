"""What containers read and run beside their images, tried with the real server where one is at hand."""

import json
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infrastructure.compose.documents import NATS
from infrastructure.docs.discovery import ROOT
from infrastructure.local.processes import NATS_USERS
from infrastructure.local.servers import NatsServer
from shared.topology import Topology
from tests.deployment.composition import raw, services
from tests.support.servers import free_port

NUMBER_LIKE = "20000"


# ---- NATS ----


@pytest.fixture
def nats_of_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    """The configuration as it is committed, but for ports and folder, with the container's environment."""
    port, monitor = free_port(), free_port()
    text = NATS.read_text(encoding="utf-8").replace("0.0.0.0", "127.0.0.1")
    for container, here in (("4222", str(port)), ("8222", str(monitor)), ("/jetstream", str(tmp_path / "jetstream"))):
        text = text.replace(container, here)
    for name, value in services()["nats"]["environment"].items():
        monkeypatch.setenv(name, value)
    # A password that reads as a number, which the server would refuse or take for another.
    monkeypatch.setenv("NATS_FLAGS_PASSWORD", NUMBER_LIKE.join(_quotes_around("NATS_FLAGS_PASSWORD")))
    server = NatsServer(tmp_path / "nats", port, monitor, text)
    server.start()
    yield server
    server.kill()


def _quotes_around(variable: str) -> list[str]:
    """What the file puts before and after the value of a variable."""
    return re.split(r"\$\{[^}]*\}", raw()["services"]["nats"]["environment"][variable])


def test_every_process_signs_in_at_nats_with_what_compose_gives_it(nats_of_compose: NatsServer) -> None:
    urls = [services()[user]["environment"][f"{user.upper()}_NATS_URL"] for user in set(NATS_USERS) - {"flags"}]
    for url in [*urls, services()["bootstrap"]["environment"]["BOOTSTRAP_NATS_URL"]]:
        user, password = url.removeprefix("nats://").removesuffix("@nats:4222").split(":")
        assert signs_in(nats_of_compose.port, user, password), user
    assert signs_in(nats_of_compose.port, "flags", NUMBER_LIKE)
    assert not signs_in(nats_of_compose.port, "flags", "20001")


def signs_in(port: int, user: str, password: str) -> bool:
    """Whether the server takes a name and a password (NATS client protocol: INFO, then CONNECT, then +OK or -ERR)."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile("rb") as lines:
        assert lines.readline().startswith(b"INFO ")
        said = json.dumps({"user": user, "pass": password, "verbose": True, "pedantic": False})
        connection.sendall(f"CONNECT {said}\r\n".encode())
        return lines.readline().startswith(b"+OK")


def test_nats_has_the_permissions_of_the_topology() -> None:
    text = NATS.read_text(encoding="utf-8").replace(": $", ': "').replace("_PASSWORD", '_PASSWORD"')
    users = {user["user"]: user for user in json.loads(text)["authorization"]["users"]}
    assert "permissions" not in users.pop("admin")
    assert users.keys() == set(NATS_USERS)
    for name, user in users.items():
        allowed = Topology().permissions(name)
        assert user["permissions"] == {way: {"allow": allowed[way]} for way in ("publish", "subscribe")}
        assert user["password"] == f"NATS_{name.upper()}_PASSWORD"
    assert json.loads(text)["jetstream"]["sync_interval"] == "always"


# ---- scripts ----


def run_script(name: str, folder: Path, program: str, secrets: tuple[str, ...]) -> dict[str, str]:
    """Runs the start script of a container with a stand-in for its program, which writes down what it was given."""
    service = services()[name]
    stand_in = folder / program
    stand_in.write_text('#!/bin/sh\nenv >"$SEEN/environment"\necho "$@" >"$SEEN/arguments"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    script = service["command"][0].replace("/run/dezky", str(folder))
    environment = service["environment"] | {"PATH": f"{folder}:/usr/bin:/bin", "SEEN": str(folder)}
    subprocess.run([*service["entrypoint"], script], env=environment, check=True, timeout=10)
    seen = {what: (folder / what).read_text(encoding="utf-8") for what in ("environment", "arguments")}
    for secret in secrets:
        assert not any(service["environment"][secret] in text for text in seen.values()), secret
    return seen


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_mongod_gets_its_key_in_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    seen = run_script("mongo", tmp_path, "docker-entrypoint.sh", ("MONGO_KEY",))
    key = tmp_path / "mongod.key"
    assert key.read_text(encoding="utf-8") == services()["mongo"]["environment"]["MONGO_KEY"]
    assert mode(key) == 0o600
    assert 6 <= len(key.read_text(encoding="utf-8")) <= 1024
    assert f"--keyFile {key}" in seen["arguments"]


def test_the_object_store_gets_its_one_identity_in_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    seen = run_script("s3", tmp_path, "weed", ("S3_ACCESS_KEY", "S3_SECRET_KEY"))
    audit, file = services()["audit"]["environment"], tmp_path / "s3.json"
    (identity,) = json.loads(file.read_text(encoding="utf-8"))["identities"]
    assert identity["credentials"] == [
        {"accessKey": audit["AUDIT_COLD_ACCESS_KEY"], "secretKey": audit["AUDIT_COLD_SECRET_KEY"]}
    ]
    assert mode(file) == 0o600
    # What the local fleet turns off stays off: reports to the makers, and doors that nobody asked for.
    assert {"-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"} <= set(seen["arguments"].split())


def test_files_are_opened_with_office_and_identity_on_the_same_domain() -> None:
    policy = yaml.safe_load((ROOT / "infrastructure" / "compose" / "ocis-csp.yml").read_text(encoding="utf-8"))
    named = {name for sources in policy["directives"].values() for name in _references(sources)}
    assert named == {"ID_HOST", "OFFICE_HOST"}
    assert named <= services()["ocis"]["environment"].keys()


def _references(sources: list[str]) -> list[str]:
    return [source.split("${")[1].split("|")[0] for source in sources if "${" in source]
