"""Settings of the audit service."""

from __future__ import annotations

from pydantic import Field
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
