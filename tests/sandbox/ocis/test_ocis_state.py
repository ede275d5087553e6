"""Audit lines, health, what outlasts a kill, and the faults of the kit."""

import signal
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.sandbox.ocis.process import GRAPH, Ocis, drive_path

LINE = {
    *("RemoteAddr", "User", "URL", "Method", "UserAgent", "Time", "App", "Message", "Action", "CLI", "Level"),
}


def test_what_happens_to_a_space_is_audited_with_its_empty_members(ocis: Ocis) -> None:
    drive, user = ocis.drive("Audited"), ocis.user("audited")
    permission = ocis.invite(drive, "user", user["id"]).json()["value"][0]["id"]
    path = drive_path(drive)
    beta = path.replace("v1.0", "v1beta1")
    ocis.send("DELETE", f"{beta}/root/permissions/{permission}")
    ocis.send("DELETE", path)
    ocis.send("PATCH", path, {}, headers={"Restore": "T"})
    ocis.send("DELETE", path)
    ocis.send("DELETE", path, headers={"Purge": "T"})
    lines = [line for line in ocis.audit() if line.get("SpaceID") == drive]
    assert [line["Action"] for line in lines] == [
        *("space_created", "space_shared", "space_unshared", "space_disabled"),
        *("space_enabled", "space_disabled", "space_deleted"),
    ]
    for line in lines:
        assert line.keys() >= LINE
        assert "id" not in {key.lower() for key in line}
        assert {line[key] for key in ("RemoteAddr", "User", "URL", "Method", "UserAgent", "Time")} == {""}
        assert line["App"] == "admin_audit"
    assert lines[1]["UserID"] == user["id"]


def test_users_and_groups_are_audited(ocis: Ocis) -> None:
    user, group = ocis.user("watched"), ocis.group("watched")
    path = f"{GRAPH}/groups/{group['id']}/members"
    ocis.send("POST", f"{path}/$ref", {"@odata.id": f"{ocis.url}{GRAPH}/users/{user['id']}"})
    ocis.send("DELETE", f"{path}/{user['id']}/$ref")
    ocis.send("PATCH", f"{GRAPH}/users/{user['id']}", {"accountEnabled": False})
    ocis.send("DELETE", f"{GRAPH}/users/{user['id']}")
    ocis.send("DELETE", f"{GRAPH}/groups/{group['id']}")
    mine = [line for line in ocis.audit() if user["id"] == line.get("UserID") or group["id"] == line.get("GroupID")]
    assert [line["Action"] for line in mine] == [
        *("user_created", "group_created", "group_member_added", "group_member_removed"),
        *("user_feature_changed", "user_deleted", "group_deleted"),
    ]


def test_the_outside_may_ask_for_the_status(ocis: Ocis) -> None:
    status = ocis.http.get("/status.php").json()
    assert (status["installed"], status["maintenance"], status["productname"]) == (True, False, "Infinite Scale")
    assert [ocis.http.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_everything_outlasts_a_kill(own: Callable[..., Ocis]) -> None:
    instance = own()
    instance.start()
    user, group, drive = instance.user("kept"), instance.group("kept"), instance.drive("Kept", quota={"total": 7})
    instance.invite(drive, "user", user["id"])
    disabled = instance.drive("Disabled")
    instance.send("DELETE", drive_path(disabled))
    before = [instance.get(f"{GRAPH}/{kind}")["value"] for kind in ("users", "groups", "drives")]
    lines = len(instance.audit())
    instance.stop(signal.SIGKILL)
    instance.start()
    assert [instance.get(f"{GRAPH}/{kind}")["value"] for kind in ("users", "groups", "drives")] == before
    assert {row["id"] for row in before[1]} == {group["id"]}
    assert "deleted" in instance.get(drive_path(disabled))["root"]
    instance.group("one more")
    assert len(instance.audit()) == lines + 1


def test_the_state_is_closed_to_others_and_keeps_no_token(ocis: Ocis) -> None:
    assert stat.S_IMODE(ocis.state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in ocis.state.iterdir()} == {0o600}
    assert b"token-of-the-administrator" not in b"".join(path.read_bytes() for path in ocis.state.iterdir())


def test_it_listens_on_loopback_only(ocis: Ocis) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # State 0A is LISTEN; addresses are little-endian hex (proc(5)).
    local = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{ocis.port:04X}")}
    assert local == {f"0100007F:{ocis.port:04X}"}
    assert f":{ocis.port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_a_lost_reply_leaves_a_space_behind_that_a_retry_doubles(ocis: Ocis) -> None:
    fault = {"effect": "lose_reply", "pathPrefix": f"{GRAPH}/drives", "method": "POST", "count": 1}
    assert ocis.http.post("/_sandbox/faults", json=fault).status_code == 201
    with pytest.raises(httpx.TransportError):
        ocis.drive("Lost")
    ocis.drive("Lost")
    assert [drive["name"] for drive in ocis.get(f"{GRAPH}/drives")["value"]].count("Lost") == 2
