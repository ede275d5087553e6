"""Settings of the billing service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ProjectingSettings


class BillingSettings(ProjectingSettings):
    """Environment variables ``BILLING_*``."""

    model_config = SettingsConfigDict(env_prefix="BILLING_")

    port: Port = Field(8083, description="TCP port to listen on.")
    mongo_database: str = Field("billing", description="Database that this service owns.")
