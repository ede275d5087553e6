"""Settings of the tenant service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import Key32, Port, ProjectingSettings

RootUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^/]+")]


class TenantSettings(ProjectingSettings):
    """Environment variables ``TENANT_*``."""

    model_config = SettingsConfigDict(env_prefix="TENANT_")

    port: Port = Field(8081, description="TCP port to listen on.")
    mongo_database: str = Field("tenant", description="Database that this service owns.")
    authentik_url: RootUrl | None = Field(
        None, description="Root of Authentik, without /api/v3; without it invitations wait."
    )
    authentik_token: SecretStr | None = Field(
        None, validate_default=True, description="API token of Authentik; goes with TENANT_AUTHENTIK_URL."
    )

    authentik_suite_client: str = Field(
        "dezky-suite", description="Client id of the suite's application at Authentik, bound to the group dezky-suite."
    )
    stalwart_url: RootUrl | None = Field(None, description="Root of Stalwart; without it nobody gets a mailbox.")
    stalwart_api_key: SecretStr | None = Field(
        None, validate_default=True, description="API key of Stalwart; goes with TENANT_STALWART_URL."
    )
    ocis_url: RootUrl | None = Field(
        None, description="Root of ownCloud Infinite Scale; without it there are no spaces."
    )
    ocis_token: SecretStr | None = Field(
        None, validate_default=True, description="Bearer token of an administrator; goes with TENANT_OCIS_URL."
    )
    deletion_grace_days: float = Field(
        30, ge=0, le=3_650, description="How long a deleted tenant can be restored before its data is erased."
    )
    detached_days: int = Field(
        30, ge=1, le=366, description="How long a tenant without a partner waits for one, unless a date is given."
    )
    transfer_days: int = Field(30, ge=1, le=366, description="How long a request to take over a tenant stays open.")
    certificate_key: Key32 = Field(
        description="Ed25519 seed that signs certificates of deletion: 32 bytes, base64url. Never in MongoDB."
    )
    resync_seconds: float = Field(
        300.0, ge=1, description="How long a tenant on which all integrations agree is left alone before the next look."
    )

    invite_days: int = Field(
        14, ge=1, le=365, description="How many days an invited person has to come before the invitation ends."
    )

    @field_validator("authentik_token", "stalwart_api_key", "ocis_token")
    @classmethod
    def _goes_with_url(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        name = str(info.field_name)
        url = f"{name.partition('_')[0]}_url"
        if url in info.data and (secret is None) != (info.data[url] is None):
            raise ValueError(f"set both TENANT_{url.upper()} and TENANT_{name.upper()}, or neither")
        return secret
