"""Composition root of the audit service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fastapi import FastAPI

from services.audit.chain import ChainWriter
from services.audit.checkpoints.routes import router as checkpoint_routes
from services.audit.checkpoints.service import CheckpointService
from services.audit.checkpoints.witness import Copier, ObjectStore
from services.audit.checkpoints.worker import CheckpointWorker
from services.audit.checkpoints.writer import CheckpointWriter, Commits, Extras
from services.audit.consumers import ChainConsumer
from services.audit.examples import OPERATIONS
from services.audit.parts import Signed, signed_log, witness_store
from services.audit.repository import INDEXES
from services.audit.routes import router
from services.audit.service import AuditService
from services.audit.settings import AuditSettings
from services.audit.verifications.repository import INDEXES as VERIFICATION_INDEXES
from services.audit.verifications.repository import VerificationRepository
from services.audit.verifications.routes import router as verification_routes
from services.audit.verifications.service import VerificationService
from services.audit.verifications.worker import Desk, VerificationWorker
from shared.app import Platform, create_app

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
    checkpoints: CheckpointService
    checkpoint_worker: CheckpointWorker
    verifications: VerificationService
    verification_worker: VerificationWorker


def wire(platform: Platform, settings: AuditSettings, witness: ObjectStore | None = None) -> Deps:
    """Build the service's parts; connects to nothing. `witness` is the bucket of the witness, if there is one."""
    signed = signed_log(platform.mongo, settings, witness, platform.clock)
    lease = platform.lease(CHAIN_LEASE)
    writer = ChainWriter(platform.mongo.transactions, signed.entries, signed.vault, lease)
    checkpoints, checkpoint_worker = _checkpoints(platform, signed)
    verifications, verification_worker = _verifications(platform, signed)
    return Deps(
        audit=AuditService(signed.entries, signed.vault),
        consumer=ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock),
        checkpoints=checkpoints,
        checkpoint_worker=checkpoint_worker,
        verifications=verifications,
        verification_worker=verification_worker,
    )


def _checkpoints(platform: Platform, signed: Signed) -> tuple[CheckpointService, CheckpointWorker]:
    writer = CheckpointWriter(
        signed.log,
        signed.checkpoints,
        signed.keys,
        Extras(witness=signed.witness),
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
    platform = Platform.build("audit", settings)
    deps = wire(platform, settings, witness_store(settings))
    return create_app(
        platform,
        deps,
        [router, checkpoint_routes, verification_routes],
        operations=OPERATIONS,
        indexes={**INDEXES, **VERIFICATION_INDEXES},
        tasks=[deps.consumer.run, deps.checkpoint_worker.run, deps.verification_worker.run],
    )
