"""Settings of the flags service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ProjectingSettings


class FlagsSettings(ProjectingSettings):
    """Environment variables ``FLAGS_*``."""

    model_config = SettingsConfigDict(env_prefix="FLAGS_")

    port: Port = Field(8084, description="TCP port to listen on.")
    mongo_database: str = Field("flags", description="Database that this service owns.")
