"""Settings of the health service. A probe without a target is not deployed, which is no fault."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from shared.settings import Port, ServiceSettings

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if text and (match is None or not 0 < int(match["port"]) < 65_536):
        raise ValueError("must be host:port, or empty where it is not deployed")
    return text


def _url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("must be an http or https URL, or empty where it is not deployed")
    return text.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(_url)]


class HealthSettings(ServiceSettings):
    """Environment variables ``HEALTH_*``."""

    model_config = SettingsConfigDict(env_prefix="HEALTH_")

    port: Port = Field(8086, description="TCP port to listen on.")
    mongo_database: str = Field("health", description="Database that this service owns.")
    interval_seconds: int = Field(10, ge=1, le=300, description="How often everything is probed.")
    services: dict[str, Url] = Field(default_factory=dict, description="JSON: service → URL, probed at /readyz.")
    nats_monitor: Url = Field("", description="Monitor URL of NATS.")
    stalwart: Address = Field("", description="host:port of Stalwart's HTTP listener.")
    ocis: Url = Field("", description="URL of OCIS: probed at /status.php.")
    ocis_debug: Url = Field("", description="URL of OCIS's debug port: probed at /healthz instead.")
    collabora: Url = Field("", description="URL of Collabora: probed at /hosting/discovery.")
    authentik: Url = Field("", description="URL of Authentik: probed at /-/health/ready/.")
    postgres: Address = Field("", description="host:port of PostgreSQL.")
    redis: Address = Field("", description="host:port of Redis.")
    traefik: Address = Field("", description="host:port of Traefik.")
    s3: Url = Field("", description="URL of the object store.")
