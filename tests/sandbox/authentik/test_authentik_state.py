"""What outlasts a restart, who may read it, and what a seed file may change."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.authentik.process import MEMBER, OPERATOR, ROOT, TOKEN, StandIn, verified_claims


def change(instance: StandIn, statement: str) -> None:
    """What an administrator would do, done to a stopped instance."""
    with closing(sqlite3.connect(instance.state / "authentik.sqlite3")) as store, store:
        store.execute("PRAGMA foreign_keys = ON")
        assert store.execute(statement).rowcount == 1


def test_keys_subjects_and_issued_tokens_outlast_a_kill(own: StandIn) -> None:
    own.start()
    keys = own.jwks("dezky-portal")
    form = {
        "grant_type": "client_credentials",
        "client_id": "dezky-portal",
        "client_secret": "secret-of-the-portal-app",
    }
    token = own.http.post(TOKEN, data=form).json()["access_token"]
    member = own.claims("dezky-portal", MEMBER)["sub"]
    own.stop(signal.SIGKILL)

    own.start()
    assert own.jwks("dezky-portal") == keys
    account = verified_claims(token, own.jwks("dezky-portal"))["sub"]
    again = own.http.post(TOKEN, data=form).json()["access_token"]
    assert verified_claims(again, keys)["sub"] == account
    assert own.claims("dezky-portal", MEMBER)["sub"] == member


def test_two_instances_share_neither_key_nor_subject(own: StandIn, authentik: StandIn) -> None:
    own.start()
    assert own.jwks("dezky-portal") != authentik.jwks("dezky-portal")
    assert own.claims("dezky-portal", MEMBER)["sub"] != authentik.claims("dezky-portal", MEMBER)["sub"]


FIRST_VERSION = """
CREATE TABLE users (pk INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, uid TEXT UNIQUE,
    username TEXT NOT NULL UNIQUE, name TEXT NOT NULL, email TEXT NOT NULL, is_active INTEGER NOT NULL DEFAULT 1,
    path TEXT NOT NULL, type TEXT NOT NULL, attributes TEXT NOT NULL DEFAULT '{}', password TEXT,
    date_joined TEXT NOT NULL, last_login TEXT, last_updated TEXT NOT NULL, password_change_date TEXT NOT NULL);
CREATE TABLE applications (slug TEXT PRIMARY KEY, name TEXT NOT NULL, client_id TEXT NOT NULL UNIQUE,
    client_secret TEXT NOT NULL, redirect_uris TEXT NOT NULL, grant_types TEXT NOT NULL, bound_group TEXT);
INSERT INTO users (uuid, username, name, email, path, type, date_joined, last_updated, password_change_date)
    VALUES ('5f0c9c0e-6f0f-4f0b-8a4e-0d6c1d3c2b1a', 'old', 'Old', 'old@acme.example', 'users', 'internal',
    '2026-01-02T03:04:05.678901+00:00', '2026-01-02T03:04:05.678901+00:00', '2026-01-02T03:04:05.678901+00:00');
INSERT INTO applications VALUES ('old', 'Old', 'old', 'secret-of-the-old-app', '[]', '["client_credentials"]', NULL);
"""


def test_a_state_of_the_first_version_is_taken_over(own: StandIn) -> None:
    own.state.mkdir()
    with closing(sqlite3.connect(own.state / "authentik.sqlite3")) as store:
        store.executescript(FIRST_VERSION)
    for _ in range(2):
        own.start()
        (user,) = own.results("/core/users/", username="old")
        assert (user["name"], user["date_joined"]) == ("Old", "2026-01-02T03:04:05.678901Z")
        form = {"grant_type": "client_credentials", "client_id": "old", "client_secret": "secret-of-the-old-app"}
        assert own.http.post(TOKEN, data=form).status_code == 200
        own.stop()


def test_the_state_is_closed_to_others(authentik: StandIn) -> None:
    assert stat.S_IMODE(authentik.state.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in authentik.state.iterdir()}
    assert {"signing-key.pem", "instance-secret", "authentik.sqlite3"} <= files.keys()
    assert set(files.values()) == {0o600}


def test_the_state_holds_no_password_in_clear(authentik: StandIn) -> None:
    content = b"".join(path.read_bytes() for path in authentik.state.iterdir())
    assert MEMBER["username"].encode() in content
    for person in (OPERATOR, MEMBER):
        assert person["password"].encode() not in content
        assert person["appPassword"].encode() not in content


def test_a_disabled_user_is_refused(own: StandIn) -> None:
    own.start()
    own.stop()
    change(own, "UPDATE users SET is_active = 0 WHERE username = 'member@acme.example'")
    own.start()
    answer = own.token("dezky-portal", MEMBER)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_seeding_again_overwrites_nothing_and_adds_what_is_new(own: StandIn) -> None:
    own.start()
    own.stop()
    change(own, "UPDATE users SET name = 'Mia Married' WHERE username = 'member@acme.example'")
    own.seed["users"][0] = OPERATOR | {"appPassword": "another-app-password-of-ola", "groups": []}
    newcomer = MEMBER | {"username": "new@acme.example", "appPassword": "app-password-of-new-0001"}
    own.seed["users"].append(newcomer)
    own.start()

    assert own.claims("dezky-portal", MEMBER, "profile")["name"] == "Mia Married"
    assert own.token("dezky-operator", OPERATOR).status_code == 200
    assert own.token("dezky-operator", own.seed["users"][0]).json()["error"] == "invalid_grant"
    assert own.claims("dezky-portal", newcomer, "profile")["groups"] == ["everybody"]


def test_what_was_removed_does_not_come_back(own: StandIn) -> None:
    own.start()
    own.stop()
    change(own, "DELETE FROM users WHERE username = 'member@acme.example'")
    change(own, "DELETE FROM groups WHERE name = 'everybody'")
    own.start()
    assert own.token("dezky-portal", MEMBER).json()["error"] == "invalid_grant"
    assert "everybody" not in own.claims("dezky-operator", OPERATOR, "profile")["groups"]


def test_a_seed_may_fix_the_subject_of_a_user(own: StandIn) -> None:
    own.seed["users"][1] = MEMBER | {"uid": "0123456789abcdef" * 4}
    own.start()
    assert own.claims("dezky-portal", MEMBER)["sub"] == "0123456789abcdef" * 4


def test_an_application_does_not_become_open_by_leaving_its_group_out(own: StandIn) -> None:
    del own.seed["applications"][0]["boundGroup"]
    own.seed_file.write_text(json.dumps(own.seed))
    assert "applications.0.boundGroup: Field required" in refusal(own)


def test_a_renamed_group_keeps_its_application(own: StandIn) -> None:
    own.start()
    own.stop()
    change(own, "UPDATE groups SET name = 'admins' WHERE name = 'dezky-platform-admins'")
    own.start()
    assert "admins" in own.claims("dezky-operator", OPERATOR, "profile")["groups"]


def test_the_public_address_follows_the_seed_file(own: StandIn) -> None:
    own.start()
    own.stop()
    own.seed["publicUrl"] = "https://id.dezky.example/"
    own.start()
    document = own.get("/application/o/dezky-portal/.well-known/openid-configuration").json()
    assert document["issuer"] == "https://id.dezky.example/application/o/dezky-portal/"


def refusal(instance: StandIn) -> str:
    ended = subprocess.run(instance.command(), cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("groups", ["everybody"], "dezky-platform-admins"),
        ("apiToken", "short", "apiToken"),
        ("publicUrl", "ftp://127.0.0.1", "publicUrl"),
        ("surprise", "x", "surprise"),
    ],
)
def test_a_bad_seed_ends_the_start_with_a_line_that_names_the_place(
    own: StandIn, place: str, value: Any, named: str
) -> None:
    own.seed_file.write_text(json.dumps(own.seed | {place: value}))
    message = refusal(own)
    assert named in message
    assert "secret-of-the-portal-app" not in message
    assert not own.state.exists()


def test_a_missing_seed_file_ends_the_start(own: StandIn) -> None:
    assert "No such file" in refusal(own)


def test_it_listens_on_loopback_only(authentik: StandIn) -> None:
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [line.split() for line in table]
    # State 0A is LISTEN; addresses are little-endian hex (proc(5)).
    local = {row[1] for row in columns if row[3] == "0A" and row[1].endswith(f":{authentik.port:04X}")}
    assert local == {f"0100007F:{authentik.port:04X}"}
    assert f":{authentik.port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_it_imports_nothing_of_the_product() -> None:
    script = (
        "import sys, infrastructure.sandbox.authentik.app\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'shared', 'gateway', 'services'}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
