"""Settings of the audit service."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import Key32, ServiceSettings


class AuditSettings(ServiceSettings):
    """`AUDIT_*`; see `shared.settings.ServiceSettings` for what every service is told."""

    model_config = SettingsConfigDict(env_prefix="AUDIT_", extra="ignore", frozen=True, populate_by_name=True)

    mongo_database: str = Field("audit", description="Database that this service owns.")
    signing_key: Key32 = Field(description="Key of the checkpoints' HMAC: 32 bytes, base64url. Never in MongoDB.")
    personal_key: Key32 = Field(
        description="Wraps the data keys of persons and keys the search by address: 32 bytes, base64url."
    )
    checkpoint_public_keys: str = Field(
        "",
        description="Public keys of the checkpoints for bundles, as C2SP verifier keys (`name+id+base64`) with spaces "
        "between them; keep retired ones as long as their checkpoints.",
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

    @model_validator(mode="after")
    def _has_what_its_sources_need(self) -> Self:
        if self.authentik_url and not self.authentik_token.get_secret_value():
            raise ValueError("AUDIT_AUTHENTIK_URL needs AUDIT_AUTHENTIK_TOKEN")
        if 0 < len(self.stalwart_webhook_key.get_secret_value()) < 16:
            raise ValueError("AUDIT_STALWART_WEBHOOK_KEY must have 16 characters or more")
        return self
