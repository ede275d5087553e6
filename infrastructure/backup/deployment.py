"""Which deployment is meant: the servers with their administrators, from the environment or from the local runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from pymongo import MongoClient

from shared.topology import PROCESSES, Topology

Client = MongoClient[dict[str, Any]]

SERVICES = tuple(process.name for process in PROCESSES if process.name != "gateway")
"""Who has a database. The gateway has none."""

_SELECTION_MS = 10_000
# One answer, which may be a batch of megabytes that the server has to read from a cold disk.
_SOCKET_MS = 120_000


def _own_databases() -> dict[str, str]:
    return {service: service for service in SERVICES}


@dataclass(frozen=True)
class Deployment:
    """The servers, as administrators open them.

    Attributes:
        databases: service → its database.
        replicas: copies of each restored stream; the bootstrap job may raise them afterwards.
    """

    mongo_uri: str
    nats_url: str
    topology: Topology = field(default_factory=Topology)
    databases: dict[str, str] = field(default_factory=_own_databases)
    replicas: int = 1

    def mongo(self) -> Client:
        """Return a client whose every call has a deadline; connects to nothing yet."""
        return MongoClient(
            self.mongo_uri,
            appname="dezky-backup",
            serverSelectionTimeoutMS=_SELECTION_MS,
            connectTimeoutMS=_SELECTION_MS,
            socketTimeoutMS=_SOCKET_MS,
            tz_aware=True,
        )


class BackupSettings(BaseSettings):
    """Everything that `python -m infrastructure.backup` reads from the environment."""

    model_config = SettingsConfigDict(env_prefix="BACKUP_", extra="ignore", frozen=True, populate_by_name=True)

    mongo_uri: SecretStr = Field(min_length=1, description="MongoDB URI of the root user.")
    nats_url: SecretStr = Field(min_length=1, description="NATS URL of the administrator.")
    nats_prefix: str = Field("", validation_alias="NATS_PREFIX", description="As the services have it.")
    nats_replicas: int = Field(1, ge=1, le=5, description="Copies of each restored stream.")
    databases: dict[str, str] = Field(
        default_factory=_own_databases, description='JSON: service → database, as in {"tenant": "tenant", …}.'
    )
    secrets: Path | None = Field(None, description="Folder of keys and passwords; empty: none are copied.")
    erasures: Path = Field(description="File that holds the list of the erased, outside of every backup.")

    @property
    def deployment(self) -> Deployment:
        """What of it says where."""
        return Deployment(
            self.mongo_uri.get_secret_value(),
            self.nats_url.get_secret_value(),
            Topology(self.nats_prefix),
            self.databases,
            self.nats_replicas,
        )
