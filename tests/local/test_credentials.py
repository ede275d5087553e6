"""The secrets: made once, readable by nobody else, and never replaced behind the databases' back."""

import base64
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infrastructure.local.credentials import Credentials, load_or_create
from infrastructure.local.errors import Obstacle
from shared.auth import InternalTokenIssuer, InternalTokenVerifier, ServicePrincipal
from shared.clock import SystemClock
from shared.settings import PublicKey, decode_key

pytestmark = pytest.mark.unit


def create(folder: Path, *, people: tuple[str, ...] = ("jane",)) -> Credentials:
    return load_or_create(
        folder,
        mongo=("root", "tenant"),
        nats=("admin",),
        signing=("gateway", "tenant"),
        authentik=("api-token",),
        people=people,
    )


def test_the_second_time_reads_what_the_first_made(tmp_path: Path) -> None:
    assert create(tmp_path) == create(tmp_path)


def test_a_new_name_is_added_and_the_others_stay(tmp_path: Path) -> None:
    before = create(tmp_path)
    after = create(tmp_path, people=("jane", "joe"))
    assert after.people["jane"] == before.people["jane"]
    assert after.mongo == before.mongo
    assert after.people["joe"] != after.people["jane"]


def test_every_file_is_readable_by_its_owner_only_from_the_start(tmp_path: Path) -> None:
    create(tmp_path)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"mongo.json", "nats.json", "signing.json", "audit.json", "people.json"} <= modes.keys()


def test_a_file_that_was_opened_up_is_closed_again(tmp_path: Path) -> None:
    create(tmp_path)
    (tmp_path / "mongo.json").chmod(0o644)
    create(tmp_path)
    assert (tmp_path / "mongo.json").stat().st_mode & 0o777 == 0o600


def test_no_secret_is_used_twice(tmp_path: Path) -> None:
    made = create(tmp_path, people=("jane", "joe"))
    secrets = [
        *made.mongo.values(),
        *made.nats.values(),
        *made.signing.values(),
        *made.audit.values(),
        *made.gateway.values(),
    ]
    secrets += [secret for person in made.people.values() for secret in (person.password, person.app_password)]
    assert len(set(secrets)) == len(secrets)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_file_is_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    create(tmp_path)
    (tmp_path / "mongo.json").write_text(content)
    with pytest.raises(Obstacle, match="Restore it from a backup"):
        create(tmp_path)
    assert (tmp_path / "mongo.json").read_text() == content


def test_keys_are_32_bytes_in_base64url_without_padding(tmp_path: Path) -> None:
    made = create(tmp_path)
    for key in (*made.signing.values(), *made.audit.values(), *made.gateway.values()):
        assert re.fullmatch(r"[\w-]{43}", key)
        assert len(base64.urlsafe_b64decode(key + "=")) == 32


def test_a_token_signed_with_a_seed_verifies_with_the_published_key(tmp_path: Path) -> None:
    made = create(tmp_path)
    published = {kid: PublicKey(**key) for kid, key in made.public_keys().items()}
    assert {kid: key.owner for kid, key in published.items()} == {"gateway-1": "gateway", "tenant-1": "tenant"}
    Ed25519PublicKey.from_public_bytes(decode_key(published["tenant-1"].x))
    clock = SystemClock()
    issuer = InternalTokenIssuer("tenant", "tenant-1", decode_key(made.signing["tenant"]), clock)
    token = issuer.issue("audit", ServicePrincipal(name="tenant"))
    assert InternalTokenVerifier("audit", published, clock).verify(token) == ServicePrincipal(name="tenant")


def test_the_public_keys_hold_no_seed(tmp_path: Path) -> None:
    made = create(tmp_path)
    published = json.dumps(made.public_keys())
    assert not any(seed in published for seed in made.signing.values())
