"""The secrets of one fleet: generated once, kept in its `secrets` folder, one JSON file per purpose."""

import base64
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infrastructure.local.private_files import read_json_object, write_private_json

T = TypeVar("T", str, dict[str, str])
_KEY_BYTES = 32
SUITE_SECRETS = (
    *("stalwart-admin", "stalwart-api", "stalwart-webhook", "ocis"),
    *("s3-access", "s3-secret", "s3-encryption"),
)


@dataclass(frozen=True)
class PersonSecrets:
    """What a demo person signs in with: by hand, and by `make token`."""

    password: str
    app_password: str


@dataclass(frozen=True)
class Credentials:
    """Every secret of the fleet.

    `suite` holds what opens the suite's backends and the object store, by name.
    `mongo` and `nats` are passwords by user name, `people` is by user name. `signing` holds Ed25519 seeds by
    process, `audit`, `gateway` and `tenant` keys by purpose, all base64url of 32 bytes without padding. `authentik`
    holds the admin API's token and the client secrets by application.
    """

    mongo: Mapping[str, str]
    nats: Mapping[str, str]
    signing: Mapping[str, str]
    audit: Mapping[str, str]
    gateway: Mapping[str, str]
    tenant: Mapping[str, str]
    authentik: Mapping[str, str]
    suite: Mapping[str, str]
    people: Mapping[str, PersonSecrets]

    def public_keys(self) -> dict[str, dict[str, str]]:
        """The internal public keys by key id, as `INTERNAL_PUBLIC_KEYS` holds them."""
        return {key_id(owner): {"owner": owner, "x": public_half(seed)} for owner, seed in self.signing.items()}


def load_or_create(
    folder: Path,
    *,
    mongo: Iterable[str],
    nats: Iterable[str],
    signing: Iterable[str],
    authentik: Iterable[str],
    people: Iterable[str],
) -> Credentials:
    """Reads the secrets and adds what is missing for the names given; what exists never changes.

    Raises Obstacle when a file is damaged: a new password would not open the databases that are there.
    """
    return Credentials(
        mongo=_complete(folder / "mongo.json", mongo, new_password),
        nats=_complete(folder / "nats.json", nats, new_password),
        signing=_complete(folder / "signing.json", signing, new_key),
        audit=_complete(folder / "audit.json", ("signing", "personal", "checkpoint"), new_key),
        gateway=_complete(folder / "gateway.json", ("session",), new_key),
        tenant=_complete(folder / "tenant.json", ("certificate",), new_key),
        authentik=_complete(folder / "authentik.json", authentik, new_password),
        suite=_complete(folder / "suite.json", SUITE_SECRETS, new_password),
        people={
            name: PersonSecrets(entry["password"], entry["appPassword"])
            for name, entry in _complete(folder / "people.json", people, _person).items()
        },
    )


def key_id(process: str) -> str:
    """The id of a process's internal signing key."""
    return f"{process}-1"


def _complete(path: Path, names: Iterable[str], create: Callable[[], T]) -> dict[str, T]:
    remedy = f"Restore it from a backup, or move {path.parent.parent} away and start with an empty fleet"
    known = read_json_object(path, remedy)
    missing = {name: create() for name in names if name not in known}
    if missing:
        write_private_json(path, known | missing)
    else:
        path.chmod(0o600)
    return known | missing


def new_password() -> str:
    """A password of 192 random bits that needs no quoting in a URL, a shell or JSON."""
    return secrets.token_urlsafe(24)


def new_key() -> str:
    """A key: 32 random bytes, base64url without padding."""
    return _base64url(secrets.token_bytes(_KEY_BYTES))


def public_half(seed: str) -> str:
    """The public key of an Ed25519 seed; both are base64url without padding."""
    raw = base64.urlsafe_b64decode(seed + "=" * (-len(seed) % 4))
    return _base64url(Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw())


def _person() -> dict[str, str]:
    return {"password": secrets.token_urlsafe(12), "appPassword": secrets.token_urlsafe(32)}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
