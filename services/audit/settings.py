"""Settings of the audit service."""

from __future__ import annotations

from pydantic import Field, SecretStr
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
    retired_signing_keys: tuple[Key32, ...] = Field(
        (), description="JSON: former values of AUDIT_SIGNING_KEY. Archives that they signed stay valid."
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
