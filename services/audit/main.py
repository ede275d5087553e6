"""Composition root of the audit service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from fastapi import FastAPI

from services.audit.chain import ChainWriter
from services.audit.checkpoints.routes import router as checkpoint_routes
from services.audit.checkpoints.service import CheckpointService
from services.audit.checkpoints.witness import Copier
from services.audit.checkpoints.worker import CheckpointWorker
from services.audit.checkpoints.writer import CheckpointWriter, Commits, Extras
from services.audit.cold.examples import OPERATIONS as ARCHIVE_OPERATIONS
from services.audit.cold.repository import INDEXES as ARCHIVE_INDEXES
from services.audit.cold.routes import router as archive_routes
from services.audit.cold.service import ArchiveService
from services.audit.cold.wiring import Cold
from services.audit.consumers import ChainConsumer
from services.audit.examples import OPERATIONS
from services.audit.exports import Exports
from services.audit.ingest.examples import OPERATIONS as INGEST_OPERATIONS
from services.audit.ingest.parts import Ingest, wire_ingest
from services.audit.ingest.repository import INDEXES as INGEST_INDEXES
from services.audit.ingest.routes import PUBLIC, sources, webhooks
from services.audit.measures import measures
from services.audit.parts import Signed, Stores, noting, public_keys, signed_log, stores_of
from services.audit.proofs.bundles import Bundles
from services.audit.proofs.examples import OPERATIONS as PROOF_OPERATIONS
from services.audit.proofs.export import Exporter, Opener
from services.audit.proofs.repository import INDEXES as PROOF_INDEXES
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.routes import router as proof_routes
from services.audit.proofs.service import ProofService
from services.audit.proofs.tree import Tree
from services.audit.repository import INDEXES
from services.audit.routes import router
from services.audit.service import AuditService
from services.audit.settings import AuditSettings
from services.audit.turns import Turns
from services.audit.verifications.repository import INDEXES as VERIFICATION_INDEXES
from services.audit.verifications.repository import VerificationRepository
from services.audit.verifications.routes import router as verification_routes
from services.audit.verifications.service import VerificationService
from services.audit.verifications.worker import Desk, VerificationWorker
from shared.app import Platform, create_app, serve
from shared.forgetting import AnsweredForgetting
from shared.measuring import Measure
from shared.settings import load

NAME = "audit"
CHAIN_LEASE = "audit-chain"
CHECKPOINT_LEASE = "audit-checkpoint"
VERIFICATION_LEASE = "audit-verification"
# A checkpoint may wait for the tree and the witness between two renewals.
CHECKPOINT_TTL = timedelta(seconds=30)


@dataclass(frozen=True)
class Deps:
    """What the routes and the workers of this service stand on."""

    audit: AuditService
    consumer: ChainConsumer
    exports: Exports
    checkpoints: CheckpointService
    checkpoint_worker: CheckpointWorker
    verifications: VerificationService
    verification_worker: VerificationWorker
    proofs: ProofService
    bundles: Bundles
    ingest: Ingest

    cold: Cold
    measures: Sequence[Measure] = ()

    @property
    def archives(self) -> ArchiveService:
        """What the routes of archives ask."""
        return self.cold.service


def wire(platform: Platform, settings: AuditSettings, stores: Stores) -> Deps:
    """Build the service's parts; connects to nothing."""
    signed = signed_log(platform.mongo, settings, stores, platform.clock)
    cold = Cold.wired(platform, settings, signed.entries, stores.archives)
    lease = platform.lease(CHAIN_LEASE)
    forgetful = AnsweredForgetting(platform.mongo, platform.outbox, platform.name)
    writer = ChainWriter(platform.mongo.transactions, signed.entries, signed.vault, lease, forgetful)
    audit = AuditService(signed.entries, signed.vault, cold.pages)
    stored = ProofRepository(platform.mongo.db)
    tree = Tree(stored)
    opener = Opener(signed.entries, signed.vault)
    exporter = Exporter(cold.pages, stored, tree, opener, public_keys(settings), platform.clock)
    checkpoints, checkpoint_worker = _checkpoints(platform, settings, signed, tree)
    verifications, verification_worker = _verifications(platform, signed)
    ingest = wire_ingest(platform, settings, writer)
    turns = Turns(settings.exports_at_once)
    return Deps(
        audit=audit,
        consumer=ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock, ingest.outflow),
        exports=Exports(audit, signed.entries, turns),
        checkpoints=checkpoints,
        checkpoint_worker=checkpoint_worker,
        verifications=verifications,
        verification_worker=verification_worker,
        proofs=ProofService(stored, tree),
        bundles=Bundles(exporter, turns),
        ingest=ingest,
        cold=cold,
        measures=measures(signed.entries, signed.checkpoints, platform.clock),
    )


def _checkpoints(
    platform: Platform, settings: AuditSettings, signed: Signed, tree: Tree
) -> tuple[CheckpointService, CheckpointWorker]:
    writer = CheckpointWriter(
        signed.log,
        signed.checkpoints,
        signed.keys,
        Extras(tree, noting(settings), signed.witness),
        platform.lease(CHECKPOINT_LEASE, CHECKPOINT_TTL),
        Commits(platform.mongo.transactions, platform.clock),
    )
    copier = None if signed.witness is None else Copier(signed.checkpoints, signed.witness, signed.keys)
    return (
        CheckpointService(signed.checkpoints, signed.keys, writer, copier),
        CheckpointWorker(signed.log, signed.checkpoints, writer, copier, platform.clock),
    )


def _verifications(platform: Platform, signed: Signed) -> tuple[VerificationService, VerificationWorker]:
    jobs, verifier = VerificationRepository(platform.mongo.db), signed.verifier()
    transactions, clock = platform.mongo.transactions, platform.clock
    return (
        VerificationService(verifier, jobs, transactions, signed.seals, clock),
        VerificationWorker(verifier, Desk(jobs, transactions, signed.seals, clock), platform.lease(VERIFICATION_LEASE)),
    )


def build(settings: AuditSettings) -> FastAPI:
    """The application with its workers, ready to be served."""
    platform = Platform.build(NAME, settings)
    stores = stores_of(settings)
    deps = wire(platform, settings, stores)
    return create_app(
        platform,
        deps,
        [router, checkpoint_routes, verification_routes, proof_routes, archive_routes, sources, webhooks],
        operations={**OPERATIONS, **PROOF_OPERATIONS, **INGEST_OPERATIONS, **ARCHIVE_OPERATIONS},
        indexes={**INDEXES, **VERIFICATION_INDEXES, **PROOF_INDEXES, **INGEST_INDEXES, **ARCHIVE_INDEXES},
        tasks=[
            *(deps.consumer.run, deps.checkpoint_worker.run, deps.verification_worker.run),
            *(*deps.ingest.tasks, *deps.cold.tasks),
        ],
        closing=(*deps.ingest.closing, *deps.cold.closing, stores.close),
        public=(PUBLIC,),
        measures=deps.measures,
    )


def main() -> None:
    """Run from environment variables."""
    settings = load(AuditSettings)
    serve(build(settings), settings, NAME)
