"""Settings of the tenant service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ServiceSettings


class TenantSettings(ServiceSettings):
    """Environment variables ``TENANT_*``."""

    model_config = SettingsConfigDict(env_prefix="TENANT_")

    port: Port = Field(8081, description="TCP port to listen on.")
    mongo_database: str = Field("tenant", description="Database that this service owns.")
    seed_file: Path | None = Field(None, description="JSON file of people to create when they are missing.")
