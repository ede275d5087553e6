"""Composition root of the audit service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.audit.chain import ChainWriter
from services.audit.consumers import ChainConsumer
from services.audit.examples import OPERATIONS
from services.audit.exports import Exports
from services.audit.ingest.examples import OPERATIONS as INGEST_OPERATIONS
from services.audit.ingest.parts import Ingest, wire_ingest
from services.audit.ingest.repository import INDEXES as INGEST_INDEXES
from services.audit.ingest.routes import PUBLIC, sources, webhooks
from services.audit.personal import Vault
from services.audit.proofs.examples import OPERATIONS as PROOF_OPERATIONS
from services.audit.proofs.export import Exporter, Opener
from services.audit.proofs.note import VerifierKey
from services.audit.proofs.repository import INDEXES as PROOF_INDEXES
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.routes import router as proofs_router
from services.audit.proofs.service import ProofService
from services.audit.proofs.tree import Tree
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
    proofs: ProofService
    exporter: Exporter
    ingest: Ingest


def wire(platform: Platform, settings: AuditSettings) -> Deps:
    """Build the service's parts; connects to nothing."""
    vault = Vault(decode_key(settings.personal_key.get_secret_value()))
    repository = AuditRepository(platform.mongo.db)
    lease = platform.lease(CHAIN_LEASE)
    writer = ChainWriter(platform.mongo.transactions, repository, vault, lease)
    proofs = ProofRepository(platform.mongo.db)
    tree = Tree(proofs)
    keys = [VerifierKey.parse(text) for text in settings.checkpoint_public_keys.split()]
    ingest = wire_ingest(platform, settings, writer)
    audit = AuditService(repository, vault)
    return Deps(
        audit=audit,
        consumer=ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock, ingest.outflow),
        exports=Exports(audit, repository),
        proofs=ProofService(proofs, tree),
        exporter=Exporter(repository, proofs, tree, Opener(repository, vault), keys, platform.clock),
        ingest=ingest,
    )


def build(settings: AuditSettings) -> FastAPI:
    """The application with its worker, ready to be served."""
    platform = Platform.build("audit", settings)
    deps = wire(platform, settings)
    return create_app(
        platform,
        deps,
        [router, proofs_router, sources, webhooks],
        operations={**OPERATIONS, **PROOF_OPERATIONS, **INGEST_OPERATIONS},
        indexes={**INDEXES, **PROOF_INDEXES, **INGEST_INDEXES},
        tasks=[deps.consumer.run, *deps.ingest.tasks],
        closing=deps.ingest.closing,
        public=(PUBLIC,),
    )
