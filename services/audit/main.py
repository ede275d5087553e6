"""Composition root of the audit service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.audit.chain import ChainWriter
from services.audit.consumers import ChainConsumer
from services.audit.examples import OPERATIONS
from services.audit.exports import Exports
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
    exports: Exports


def wire(platform: Platform, settings: AuditSettings) -> Deps:
    """Build the service's parts; connects to nothing."""
    vault = Vault(decode_key(settings.personal_key.get_secret_value()))
    repository = AuditRepository(platform.mongo.db)
    lease = platform.lease(CHAIN_LEASE)
    writer = ChainWriter(platform.mongo.transactions, repository, vault, lease)
    audit = AuditService(repository, vault)
    return Deps(
        audit=audit,
        consumer=ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock),
        exports=Exports(audit, repository),
    )


def build(settings: AuditSettings) -> FastAPI:
    """The application with its worker, ready to be served."""
    platform = Platform.build("audit", settings)
    deps = wire(platform, settings)
    return create_app(platform, deps, [router], operations=OPERATIONS, indexes=INDEXES, tasks=[deps.consumer.run])
