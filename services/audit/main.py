"""Composition root of the audit service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.audit.chain import ChainWriter
from services.audit.cold.examples import OPERATIONS as ARCHIVE_OPERATIONS
from services.audit.cold.repository import INDEXES as ARCHIVE_INDEXES
from services.audit.cold.routes import router as archive_router
from services.audit.cold.service import ArchiveService
from services.audit.cold.wiring import Cold
from services.audit.consumers import ChainConsumer
from services.audit.examples import OPERATIONS
from services.audit.personal import Vault
from services.audit.repository import INDEXES, AuditRepository
from services.audit.routes import router
from services.audit.service import AuditService
from services.audit.settings import AuditSettings
from shared.app import Platform, create_app
from shared.settings import decode_key

CHAIN_LEASE = "audit-chain"


@dataclass(frozen=True)
class Deps:
    """What the routes and the worker of this service stand on."""

    audit: AuditService
    consumer: ChainConsumer
    cold: Cold

    @property
    def archives(self) -> ArchiveService:
        """What the routes of archives ask."""
        return self.cold.service


def wire(platform: Platform, settings: AuditSettings) -> Deps:
    """Build the service's parts; connects to nothing."""
    vault = Vault(decode_key(settings.personal_key.get_secret_value()))
    repository = AuditRepository(platform.mongo.db)
    cold = Cold.wired(platform, settings, repository)
    lease = platform.lease(CHAIN_LEASE)
    writer = ChainWriter(platform.mongo.transactions, repository, vault, lease)
    return Deps(
        audit=AuditService(repository, vault, cold.pages, cold.log),
        consumer=ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock),
        cold=cold,
    )


def build(settings: AuditSettings) -> FastAPI:
    """The application with its worker, ready to be served."""
    platform = Platform.build("audit", settings)
    deps = wire(platform, settings)
    return create_app(
        platform,
        deps,
        [router, archive_router],
        operations={**OPERATIONS, **ARCHIVE_OPERATIONS},
        indexes={**INDEXES, **ARCHIVE_INDEXES},
        tasks=[deps.consumer.run, *deps.cold.tasks],
        closing=deps.cold.closing,
    )
