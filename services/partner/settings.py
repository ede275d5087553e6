"""Settings of the partner service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ProjectingSettings


class PartnerSettings(ProjectingSettings):
    """Environment variables ``PARTNER_*``."""

    model_config = SettingsConfigDict(env_prefix="PARTNER_")

    port: Port = Field(8082, description="TCP port to listen on.")
    mongo_database: str = Field("partner", description="Database that this service owns.")
    termination_wait_seconds: float = Field(
        5.0, ge=0, le=10, description="How long a request to terminate a partner waits for the tenant service's answer."
    )
