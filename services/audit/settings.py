"""Settings of the audit service."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import Key32, ServiceSettings, decode_key


def _is_public_key(text: str) -> str:
    if len(decode_key(text)) != 32:
        raise ValueError("must be the 32 bytes of an Ed25519 public key in base64url")
    return text


class CheckpointKey(BaseModel):
    """An Ed25519 key of checkpoints `from` to `until`: its seed while it signs, its public key after it has retired."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    seed: Key32 | None = None
    public_key: Annotated[str, AfterValidator(_is_public_key)] | None = Field(None, alias="publicKey")
    first: int = Field(1, alias="from", ge=1)
    last: int | None = Field(None, alias="until", ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> CheckpointKey:
        if (self.seed is None) == (self.public_key is None):
            raise ValueError("give either seed or publicKey")
        return self


class RetiredKey(BaseModel):
    """An HMAC key that signed checkpoints until a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    key: Key32
    last: int = Field(alias="until", ge=1)


class AuditSettings(ServiceSettings):
    """`AUDIT_*`; see `shared.settings.ServiceSettings` for what every service is told."""

    model_config = SettingsConfigDict(env_prefix="AUDIT_", extra="ignore", frozen=True, populate_by_name=True)

    mongo_database: str = Field("audit", description="Database that this service owns.")
    signing_key: Key32 = Field(description="Key of the checkpoints' HMAC: 32 bytes, base64url. Never in MongoDB.")
    personal_key: Key32 = Field(
        description="Wraps the data keys of persons and keys the search by address: 32 bytes, base64url."
    )
    checkpoint_keys: list[CheckpointKey] = Field(
        min_length=1,
        description='Ed25519 keys of checkpoints, JSON: [{"seed": "…", "from": 1}]. `from` and `until` are numbers of '
        'checkpoints, both included; a key that has retired is {"publicKey": "…", "from": 1, "until": 4200}.',
    )
    log_origin: str = Field(
        "dezky/audit",
        pattern=r"^[^\s+]+$",
        description="Name of the log in its signed notes (C2SP): unique, as your domain and a path; never change it.",
    )
    signing_history: list[RetiredKey] = Field(
        default_factory=list,
        description='Earlier values of AUDIT_SIGNING_KEY, JSON: [{"key": "…", "until": 4200}]; the present one signs '
        "what comes after.",
    )
    witness_bucket: str = Field(
        "dezky-audit-witness", description="Object-locked bucket that holds a copy of each checkpoint."
    )
    witness_retention_days: float = Field(
        3650, gt=0, description="How long nobody can change or remove such a copy (Object Lock, COMPLIANCE)."
    )
    authentik_url: str = Field("", description="Root of Authentik, whose events are chained too; empty: they are not.")
    authentik_token: SecretStr = Field(SecretStr(""), description="API token of Authentik that may view events.")
    authentik_poll_seconds: float = Field(5.0, gt=0, le=3_600, description="Seconds between two looks at its events.")
    authentik_silent_hours: float = Field(24.0, gt=0, description="Hours without an event that are suspicious.")
    stalwart_webhook_key: SecretStr = Field(
        SecretStr(""),
        description="Key under which Stalwart signs its webhook, 16 characters or more; empty: it is off.",
    )
    stalwart_silent_hours: float = Field(24.0, gt=0, description="Hours without an event that are suspicious.")
    ocis_audit_file: str = Field("", description="Audit log of ownCloud Infinite Scale, JSON lines; empty: it is off.")
    ocis_poll_seconds: float = Field(1.0, gt=0, le=3_600, description="Seconds between two looks at that file.")
    ocis_silent_hours: float = Field(24.0, gt=0, description="Hours without a line that are suspicious.")

    exports_at_once: int = Field(
        8, ge=1, le=100, description="How many exports and bundles one replica makes at once; more are told to wait."
    )

    cold_endpoint: str = Field("", description="URL of the S3 store of old entries; empty: no cold storage.")
    cold_region: str = Field("local", description="Region of that store.")
    cold_bucket: str = Field("dezky-audit", description="Bucket of archives; with Object Lock, if it shall lock.")
    cold_access_key: str = Field("", description="Access key of that store.")
    cold_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of that store.")
    cold_sse: bool = Field(False, description="Whether the store shall encrypt what it keeps (SSE, AES256).")
    cold_retention_days: int = Field(
        0, ge=0, le=36_500, description="Object Lock: how long nobody may remove an archive (COMPLIANCE); 0: no lock."
    )
    archiver_mongo_uri: SecretStr = Field(
        SecretStr(""),
        description="MongoDB URI of the archiver's own user, who may remove entries; empty: no archiving.",
    )
    # Events are kept on the bus for 30 days, and come again: until then their ids must be known here.
    hot_retention_days: int = Field(90, ge=31, le=36_500, description="Days until an entry may go to cold storage.")
    archive_enabled: bool = Field(False, description="Whether entries go to cold storage every day.")
    archive_hour_utc: int = Field(3, ge=0, le=23, description="Hour (UTC) from which on they do.")

    @model_validator(mode="after")
    def _has_what_its_sources_need(self) -> Self:
        if self.authentik_url and not self.authentik_token.get_secret_value():
            raise ValueError("AUDIT_AUTHENTIK_URL needs AUDIT_AUTHENTIK_TOKEN")
        if 0 < len(self.stalwart_webhook_key.get_secret_value()) < 16:
            raise ValueError("AUDIT_STALWART_WEBHOOK_KEY must have 16 characters or more")
        return self


def secret(key: SecretStr) -> bytes:
    """The bytes of a key."""
    return decode_key(key.get_secret_value())
