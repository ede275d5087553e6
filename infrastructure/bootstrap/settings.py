"""What the job is told. It reads the services' own variables where there are such: what is said once cannot differ.

A variable that is empty counts as not set. A part whose first variable is not set is skipped.
"""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from infrastructure.bootstrap.database_access import USERS, User

SURFACES = ("operator", "portal")
_SLUG = re.compile(r"[-a-zA-Z0-9_]+")
_SHORTEST_TOKEN = 30


def _words(text: Any) -> Any:
    return [word.strip() for word in text.split(",") if word.strip()] if isinstance(text, str) else text


def _is_root(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


def _is_long(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value()) < _SHORTEST_TOKEN:
        raise ValueError(f"must have {_SHORTEST_TOKEN} characters or more; make one with: openssl rand -hex 30")
    return secret


Root = Annotated[str, AfterValidator(_is_root)]
Token = Annotated[SecretStr, AfterValidator(_is_long)]
Words = Annotated[tuple[str, ...], NoDecode]
EMPTY = SecretStr("")


class Client(BaseModel):
    """One entry of `GATEWAY_SIGN_IN`; the client id is the application's slug, too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)
    client_id: str = Field(pattern=r"^[-a-zA-Z0-9_]+$")
    client_secret: SecretStr = Field(min_length=16)


def _own(name: str, default: Any, description: str, **more: Any) -> Any:
    return Field(default, validation_alias=name, description=description, **more)


class BootstrapSettings(BaseSettings):
    """Everything that `python -m infrastructure.bootstrap` reads; see README.md beside this file."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, populate_by_name=True)

    wait_seconds: float = _own(
        "BOOTSTRAP_WAIT_SECONDS", 120.0, "How long each server may take to come and to answer.", gt=0, le=3_600
    )

    mongo_members: Words = _own(
        "BOOTSTRAP_MONGO_MEMBERS", (), "Members of the replica set, host:port, joined by commas; empty: no MongoDB."
    )
    mongo_replica_set: str = _own("BOOTSTRAP_MONGO_REPLICA_SET", "rs0", "Name of the replica set.")
    mongo_root_user: str = _own("BOOTSTRAP_MONGO_ROOT_USER", "root", "User who owns everything in MongoDB.")
    mongo_root_password: SecretStr = _own("BOOTSTRAP_MONGO_ROOT_PASSWORD", EMPTY, "That user's password.")
    tenant_mongo_uri: SecretStr = _own("TENANT_MONGO_URI", EMPTY, "As the tenant service has it.")
    partner_mongo_uri: SecretStr = _own("PARTNER_MONGO_URI", EMPTY, "As the partner service has it.")
    billing_mongo_uri: SecretStr = _own("BILLING_MONGO_URI", EMPTY, "As the billing service has it.")
    flags_mongo_uri: SecretStr = _own("FLAGS_MONGO_URI", EMPTY, "As the flags service has it.")
    health_mongo_uri: SecretStr = _own("HEALTH_MONGO_URI", EMPTY, "As the health service has it.")
    audit_mongo_uri: SecretStr = _own("AUDIT_MONGO_URI", EMPTY, "As the audit service has it.")
    audit_archiver_mongo_uri: SecretStr = _own(
        "AUDIT_ARCHIVER_MONGO_URI", EMPTY, "As the audit service has it; empty: nobody may archive."
    )

    nats_url: SecretStr = _own("BOOTSTRAP_NATS_URL", EMPTY, "NATS URL of the administrator; empty: no NATS.")
    nats_monitor: Root = _own(
        "BOOTSTRAP_NATS_MONITOR", "", "Root of NATS's monitor; empty: nobody looks whether it syncs every write."
    )
    nats_replicas: int = _own("BOOTSTRAP_NATS_REPLICAS", 1, "Copies of each stream: 1, or 3 in a cluster.", ge=1, le=5)
    nats_prefix: str = _own("NATS_PREFIX", "", "As the services have it; empty outside tests.")

    s3_endpoint: Root = _own("AUDIT_COLD_ENDPOINT", "", "As the audit service has it; empty: no S3.")
    s3_region: str = _own("AUDIT_COLD_REGION", "local", "As the audit service has it.")
    archive_bucket: str = _own("AUDIT_COLD_BUCKET", "dezky-audit", "As the audit service has it.")
    witness_bucket: str = _own("AUDIT_WITNESS_BUCKET", "dezky-audit-witness", "As the audit service has it.")
    cold_access_key: str = _own("AUDIT_COLD_ACCESS_KEY", "", "As the audit service has it.")
    cold_secret_key: SecretStr = _own("AUDIT_COLD_SECRET_KEY", EMPTY, "As the audit service has it.")
    s3_access_key: str = _own("BOOTSTRAP_S3_ACCESS_KEY", "", "Key that may make buckets; empty: the audit service's.")
    s3_secret_key: SecretStr = _own("BOOTSTRAP_S3_SECRET_KEY", EMPTY, "Goes with BOOTSTRAP_S3_ACCESS_KEY.")

    authentik_url: Root = _own(
        "BOOTSTRAP_AUTHENTIK_URL", "", "Root of Authentik, without /api/v3; empty: no Authentik."
    )
    authentik_token: SecretStr = _own(
        "BOOTSTRAP_AUTHENTIK_TOKEN", EMPTY, "API token of a superuser of Authentik: its AUTHENTIK_BOOTSTRAP_TOKEN."
    )
    signing_key: str = _own(
        "BOOTSTRAP_AUTHENTIK_SIGNING_KEY",
        "authentik Self-signed Certificate",
        "Name of the RSA key pair at Authentik that signs tokens.",
    )
    public_url: Root = _own("GATEWAY_PUBLIC_URL", "", "As the gateway has it: where browsers come back to.")
    clients: dict[str, Client] = _own("GATEWAY_SIGN_IN", {}, "As the gateway has it, both surfaces.")
    suite_client: str = _own("TENANT_AUTHENTIK_SUITE_CLIENT", "dezky-suite", "As the tenant service has it.")
    suite_redirect_uris: Words = _own(
        "BOOTSTRAP_SUITE_REDIRECT_URIS",
        (),
        "Where the suite's sign-in comes back to, joined by commas; empty: no application for the suite.",
    )
    tenant_token: Token = _own("TENANT_AUTHENTIK_TOKEN", EMPTY, "As the tenant service has it; empty: no token.")
    audit_token: Token = _own("AUDIT_AUTHENTIK_TOKEN", EMPTY, "As the audit service has it; empty: no token.")
    operator_email: str = _own(
        "BOOTSTRAP_OPERATOR_EMAIL", "", "First operator: user name and address; empty: none is made."
    )
    operator_name: str = _own("BOOTSTRAP_OPERATOR_NAME", "", "Their name; empty: the address.")
    operator_password: SecretStr = _own(
        "BOOTSTRAP_OPERATOR_PASSWORD", EMPTY, "Given once, when they are made; empty: they get a recovery link."
    )
    operator_link_file: str = _own(
        "BOOTSTRAP_OPERATOR_LINK_FILE", "", "File, mode 0600, that the recovery link is written to."
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: Any) -> Any:
        lists = ("BOOTSTRAP_MONGO_MEMBERS", "BOOTSTRAP_SUITE_REDIRECT_URIS")
        return values | {name: _words(values[name]) for name in lists if name in values}

    @model_validator(mode="after")
    def _has_what_its_parts_need(self) -> Self:
        """Raises ValueError with the first variable that a part lacks."""
        needs: dict[str, dict[str, Any]] = {
            "BOOTSTRAP_MONGO_MEMBERS": {
                "BOOTSTRAP_MONGO_ROOT_PASSWORD": self.mongo_root_password.get_secret_value(),
                **{f"{name.upper()}_MONGO_URI": uri for name, uri in self._uris().items() if name != "audit_archiver"},
            },
            "AUDIT_COLD_ENDPOINT": {
                "AUDIT_COLD_ACCESS_KEY": self.cold_access_key or self.s3_access_key,
                "AUDIT_COLD_SECRET_KEY": self.cold_secret_key.get_secret_value() or self.s3_access_key,
            },
            "BOOTSTRAP_AUTHENTIK_URL": {
                "BOOTSTRAP_AUTHENTIK_TOKEN": self.authentik_token.get_secret_value(),
                "GATEWAY_PUBLIC_URL": self.public_url,
                "GATEWAY_SIGN_IN": all(surface in self.clients for surface in SURFACES),
            },
            "BOOTSTRAP_OPERATOR_EMAIL": {
                "BOOTSTRAP_OPERATOR_PASSWORD": self.operator_password.get_secret_value() or self.operator_link_file
            },
        }
        targets = (self.mongo_members, self.s3_endpoint, self.authentik_url, self.authentik_url and self.operator_email)
        for (first, variables), configured in zip(needs.items(), targets, strict=True):
            for variable, value in variables.items():
                if configured and not value:
                    raise ValueError(f"{variable} is not set, or not whole; {first} needs it")
        if not _SLUG.fullmatch(self.suite_client):
            raise ValueError("TENANT_AUTHENTIK_SUITE_CLIENT may hold letters, digits, - and _ only: it is a slug, too")
        self.mongo_passwords()
        return self

    def mongo_passwords(self) -> dict[str, str]:
        """The passwords of the services' users, by user name. Raises ValueError naming the variable."""
        users = {user.name: user for user in USERS}
        uris = self._uris().items()
        return {name: _password(f"{name.upper()}_MONGO_URI", uri, users[name]) for name, uri in uris if uri}

    def s3_keys(self) -> tuple[str, str]:
        """Access key and secret key that make the buckets."""
        if self.s3_access_key:
            return self.s3_access_key, self.s3_secret_key.get_secret_value()
        return self.cold_access_key, self.cold_secret_key.get_secret_value()

    def _uris(self) -> dict[str, str]:
        return {user.name: getattr(self, f"{user.name}_mongo_uri").get_secret_value() for user in USERS}


def _password(variable: str, uri: str, user: User) -> str:
    """The password in a service's URI, which must be that of the user that it gets."""
    try:
        parsed = parse_uri(uri, validate=False)
    except (PyMongoError, ValueError):
        raise ValueError(f"{variable} is no MongoDB URI") from None  # the cause repeats what it was given
    source = parsed["options"].get("authsource") or parsed["database"]
    if (parsed["username"], source) != (user.name, user.database):
        raise ValueError(f"{variable} must be of the user {user.name} with authSource={user.database}")
    if not parsed["password"]:
        raise ValueError(f"{variable} holds no password")
    return str(parsed["password"])
