"""Settings of the tenant service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ServiceSettings


class TenantSettings(ServiceSettings):
    """Environment variables ``TENANT_*``."""

    model_config = SettingsConfigDict(env_prefix="TENANT_")

    port: Port = Field(8081, description="TCP port to listen on.")
    mongo_database: str = Field("tenant", description="Database that this service owns.")
    seed_file: Path | None = Field(None, description="JSON file of people to create when they are missing.")
    authentik_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+")] | None = Field(
        None, description="Root of Authentik, without /api/v3; without it invitations wait."
    )
    authentik_token: SecretStr | None = Field(
        None, validate_default=True, description="API token of Authentik; goes with TENANT_AUTHENTIK_URL."
    )

    @field_validator("authentik_token")
    @classmethod
    def _goes_with_url(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (token is None) != (info.data.get("authentik_url") is None) and "authentik_url" in info.data:
            raise ValueError("set both TENANT_AUTHENTIK_URL and TENANT_AUTHENTIK_TOKEN, or neither")
        return token
