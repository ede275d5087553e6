"""What outlasts a kill, who may read it, where it listens, and the faults of the kit."""

import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.sandbox.stalwart.process import ADMIN, BY_HAND, ROOT, Stalwart, user


def test_objects_passwords_and_keys_outlast_a_kill(own: Callable[..., Stalwart]) -> None:
    instance = own()
    instance.start()
    home = instance.domain("kill.example")
    identity = instance.user("jane", home)
    key = instance.call("x:ApiKey/set", {"create": {"k": {"description": "kept"}}})["created"]["k"]["secret"]
    instance.mail("jane@kill.example", bytes=9)
    before = instance.read("Account", identity)
    instance.stop(signal.SIGKILL)
    instance.start()
    assert instance.read("Account", identity) == before
    assert before["usedDiskQuota"] == 9
    assert instance.sign_in("jane@kill.example").status_code == 200
    assert instance.post(token=key).status_code == 200
    assert instance.refusal("Account", user("jane", home))["type"] == "primaryKeyViolation"
    assert len(instance.call("x:Account/query", {"filter": {"name": ADMIN.partition("@")[0]}})["ids"]) == 1


def test_an_id_is_never_used_again(own: Callable[..., Stalwart]) -> None:
    instance = own()
    instance.start()
    first = instance.domain("first.example")
    instance.call("x:Domain/set", {"destroy": [first]})
    instance.stop(signal.SIGKILL)
    instance.start()
    assert instance.domain("first.example") != first


def test_the_state_is_closed_to_others(stalwart: Stalwart) -> None:
    assert stat.S_IMODE(stalwart.state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in stalwart.state.iterdir()} == {0o600}


def test_it_listens_on_loopback_only(stalwart: Stalwart) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # State 0A is LISTEN; addresses are little-endian hex (proc(5)).
    local = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{stalwart.port:04X}")}
    assert local == {f"0100007F:{stalwart.port:04X}"}
    assert f":{stalwart.port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_a_lost_reply_leaves_the_work_done(stalwart: Stalwart) -> None:
    fault = {"effect": "lose_reply", "pathPrefix": "/jmap", "count": 1}
    assert stalwart.http.post("/_sandbox/faults", json=fault).status_code == 201
    with pytest.raises(httpx.TransportError):
        stalwart.domain("lost.example")
    assert stalwart.refusal("Domain", {"name": "lost.example", **BY_HAND})["type"] == "primaryKeyViolation"


@pytest.mark.parametrize(("effect", "status"), [("error", 500), ("throttle", 429)])
def test_a_fault_strikes_instead_of_the_work(stalwart: Stalwart, effect: str, status: int) -> None:
    fault = {"effect": effect, "pathPrefix": "/jmap", "count": 1, "retryAfterSeconds": 7}
    assert stalwart.http.post("/_sandbox/faults", json=fault).status_code == 201
    name = f"{effect}.example"
    answer = stalwart.post(["x:Domain/set", {"create": {"d": {"name": name, **BY_HAND}}}, "0"])
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert stalwart.call("x:Domain/query", {"filter": {"name": name}})["ids"] == []


def test_a_bad_seed_ends_the_start_with_a_line_that_names_the_place(own: Callable[..., Stalwart]) -> None:
    instance = own(adminSecret="short", surprise=1)
    instance.seed_file.write_text('{"adminUser": "no-address", "adminSecret": "short", "surprise": 1}')
    ended = subprocess.run(instance.command(), cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    for place in ("adminUser", "adminSecret", "apiKey", "surprise"):
        assert f": {place}:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_imports_nothing_of_the_product() -> None:
    script = (
        "import sys, infrastructure.sandbox.stalwart.app, infrastructure.sandbox.ocis.app\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'shared', 'gateway', 'services'}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
