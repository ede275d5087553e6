"""Every variable of a deployment (`.env` beside `docker-compose.yml`), with how its value comes about."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from infrastructure.local.credentials import key_id, new_key, new_password, public_half
from infrastructure.local.processes import NATS_USERS
from infrastructure.local.readiness import ADMIN

_REPLICA_SET_KEY_BYTES = 96


@dataclass(frozen=True)
class Variable:
    """One variable of `.env`.

    Attributes:
        text: one line for whoever fills it in.
        default: what stands there unless somebody changes it; never a secret.
        make: a new random value; None where a human must say it, or where it follows from others.
    """

    name: str
    text: str
    default: str = ""
    make: Callable[[], str] | None = None


PUBLIC_KEYS = "INTERNAL_PUBLIC_KEYS"
SERVICES = tuple(name for name in NATS_USERS if name != "gateway")
# MongoDB user → its database; the archiver, who alone may remove entries of the log, works in the log's.
MONGO_USERS: Mapping[str, str] = {name: name for name in SERVICES} | {"audit_archiver": "audit"}


def signing_key(process: str) -> str:
    """The variable that holds the seed of a process's internal signing key."""
    return f"{process.upper()}_INTERNAL_SIGNING_KEY"


def mongo_password(user: str) -> str:
    """The variable that holds the password of a MongoDB user."""
    return f"MONGO_{user.upper()}_PASSWORD"


def nats_password(user: str) -> str:
    """The variable that holds the password of a NATS user."""
    return f"NATS_{user.upper()}_PASSWORD"


def _replica_set_key() -> str:
    return base64.b64encode(secrets.token_bytes(_REPLICA_SET_KEY_BYTES)).decode("ascii")


def _checkpoint_keys() -> str:
    return json.dumps([{"seed": new_key()}])


def _api_key() -> str:
    return f"API_{new_password()}"


def _password(name: str, text: str) -> Variable:
    return Variable(name, text, make=new_password)


def _key(name: str, text: str) -> Variable:
    return Variable(name, text, make=new_key)


DEPLOYMENT = (
    Variable("DEZKY_DOMAIN", "Domain of this deployment: api., id., mail., files., office. and others lie below it."),
    Variable("DEZKY_OPERATOR_EMAIL", "Address of the first operator."),
    _password(
        "DEZKY_OPERATOR_PASSWORD", "Their first password, given when they are made; they change it at Authentik."
    ),
    Variable("DEZKY_ACME_EMAIL", "Whom the certificate authority writes to."),
    Variable("DEZKY_ENVIRONMENT", "Name of this deployment.", "production"),
    Variable("DEZKY_VERSION", "Tag of the image that holds all our processes.", "0.1.0"),
    Variable(
        "DEZKY_INSIDE_NETWORKS",
        "Networks, joined by commas, that may see watch.",
        "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    ),
)
KEYS = (
    *(
        _key(signing_key(process), f"Ed25519 seed with which {process} signs internal tokens.")
        for process in NATS_USERS
    ),
    Variable(PUBLIC_KEYS, "JSON: the public halves of all of these. Follows from them."),
    _key("GATEWAY_SESSION_KEY", "Encrypts browser sessions; new ones go before old ones, joined by commas."),
    _key("AUDIT_SIGNING_KEY", "Key of the HMAC of the log's checkpoints."),
    _key("AUDIT_PERSONAL_KEY", "Wraps the data keys of persons: without it nothing personal in the log can be read."),
    Variable("AUDIT_CHECKPOINT_KEYS", "JSON: Ed25519 keys that sign checkpoints.", make=_checkpoint_keys),
    _key("TENANT_CERTIFICATE_KEY", "Ed25519 seed that signs certificates of deletion."),
)
DATABASES = (
    Variable("MONGO_KEY", "Key by which the members of the replica set know each other.", make=_replica_set_key),
    _password(mongo_password("root"), "MongoDB's root, for the bootstrap job alone."),
    *(_password(mongo_password(user), f"MongoDB user {user}, confined to {at}.") for user, at in MONGO_USERS.items()),
    _password(nats_password(ADMIN), "NATS administrator, for the bootstrap job alone."),
    *(_password(nats_password(name), f"NATS user of {name}.") for name in NATS_USERS),
    _password("S3_ACCESS_KEY", "Access key of the object store."),
    _password("S3_SECRET_KEY", "Secret key of the object store."),
    Variable(
        "S3_KEY_OF_KEYS", "Encrypts the keys of stored objects: 32 bytes, hex.", make=lambda: secrets.token_hex(32)
    ),
)
SUITE = (
    _password("AUTHENTIK_POSTGRES_PASSWORD", "Authentik's user at PostgreSQL."),
    Variable("AUTHENTIK_SECRET_KEY", "Signs Authentik's own sessions.", make=lambda: secrets.token_urlsafe(48)),
    _password("AUTHENTIK_ADMIN_PASSWORD", "Password of Authentik's own administrator, akadmin."),
    _password("AUTHENTIK_ADMIN_TOKEN", "API token of that administrator, for the bootstrap job alone."),
    _password("AUTHENTIK_TENANT_TOKEN", "API token of the tenant service, which looks after people and groups."),
    _password("AUTHENTIK_AUDIT_TOKEN", "API token of the audit service, which reads events."),
    _password("OIDC_OPERATOR_SECRET", "Client secret of the operator application."),
    _password("OIDC_PORTAL_SECRET", "Client secret of the portal application."),
    _password("STALWART_ADMIN_PASSWORD", "Password of Stalwart's administrator in bootstrap and recovery mode."),
    Variable("STALWART_API_KEY", "API key of Stalwart. It makes its own: put that one here.", make=_api_key),
    _password("STALWART_WEBHOOK_KEY", "Key under which Stalwart signs what it tells the audit log."),
    _password("OCIS_ADMIN_PASSWORD", "Password of ownCloud Infinite Scale's own administrator."),
    _password("OCIS_TOKEN", "Bearer token of an administrator of ownCloud. It makes its own: put that one here."),
    _password("COLLABORA_ADMIN_PASSWORD", "Password of Collabora's administration page."),
)
WATCH = (_password("GRAFANA_ADMIN_PASSWORD", "Password of Grafana's administrator."),)

SECTIONS: Mapping[str, tuple[Variable, ...]] = {
    "what you say": DEPLOYMENT,
    "keys of our processes": KEYS,
    "databases, bus and object store": DATABASES,
    "the suite": SUITE,
    "watching": WATCH,
}


def all_variables() -> Iterator[Variable]:
    """Every variable, in the order of the file."""
    for variables in SECTIONS.values():
        yield from variables


def complete(known: Mapping[str, str]) -> dict[str, str]:
    """Every variable with its value: what is known stays, what is missing is made, what follows is derived anew.

    A variable that only a human can say, and has not said, is empty.
    """
    values = {
        variable.name: known.get(variable.name) or (variable.make() if variable.make else variable.default)
        for variable in all_variables()
    }
    halves = {key_id(name): {"owner": name, "x": public_half(values[signing_key(name)])} for name in NATS_USERS}
    return values | {PUBLIC_KEYS: json.dumps(_kept(known) | halves, separators=(",", ":"))}


def _kept(known: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Public keys that somebody added by hand: while a key is replaced, both are valid."""
    kept: dict[str, dict[str, str]] = json.loads(known.get(PUBLIC_KEYS) or "{}")
    return kept
