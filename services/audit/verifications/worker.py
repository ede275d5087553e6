"""Runs the verifications that were asked for, one at a time on the whole platform, and goes on where one was left.

How far it is gets saved now and then, sealed, under the lease: a process that dies costs what came since.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import structlog

from services.audit.verifications.places import Scope, Seals, document_of, read
from services.audit.verifications.repository import VerificationRepository
from services.audit.verifications.service import Verifier
from services.audit.verifications.verification import Verification
from shared.clock import Clock
from shared.errors import Unavailable
from shared.leases import Lease, LeaseLost
from shared.mongo import Document, Transaction, Transactions

log = structlog.get_logger()

LOOK_SECONDS = 1.0
SAVE_SECONDS = 2.0
ALTERED = "the place that this verification had reached was altered in MongoDB; it began anew"


@dataclasses.dataclass(frozen=True)
class Desk:
    """Where jobs are taken from and put back."""

    jobs: VerificationRepository
    transactions: Transactions
    seals: Seals
    clock: Clock


class VerificationWorker:
    """`run` is one of the service's workers."""

    def __init__(self, verifier: Verifier, desk: Desk, lease: Lease, save_seconds: float = SAVE_SECONDS) -> None:
        self._verifier = verifier
        self._desk = desk
        self._lease = lease
        self._save_seconds = save_seconds

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._lease.hold()
                try:
                    worked = await self.turn()
                except LeaseLost:
                    log.info("audit.verification_left_to_another")
                    worked = False
                except Unavailable as error:
                    # The witness, of a job that began with it: it goes on from its place.
                    log.warning("audit.verification_waits", error=str(error))
                    worked = False
                if not worked:
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._lease.release()

    async def turn(self) -> bool:
        """Take the oldest open job to its end; False if there is none. Needs the lease. Raises LeaseLost."""
        row = await self._desk.jobs.oldest_open()
        if row is None:
            return False
        job = row["_id"]
        verification = await self._resumed(row) or await self._begun(row)
        saved_at = time.monotonic()
        async for verified in verification.steps():
            if time.monotonic() - saved_at >= self._save_seconds:
                await self._lease.acquire()
                await self._save(job, verification, verified)
                saved_at = time.monotonic()
        await self._end(job, verification)
        return True

    async def _resumed(self, row: Document) -> Verification | None:
        if row["saved"] is None:
            return None
        document = self._desk.seals.opened(f"verification:{row['_id']}", row["saved"])
        verification = self._verifier.new()
        if document is None or not await verification.resume(*read(document)):
            log.error("audit.verification_place_altered", job=row["_id"])
            return None
        return verification

    async def _begun(self, row: Document) -> Verification:
        verification = await self._verifier.begun(Scope(**row["scope"]))
        if row["saved"] is not None:
            verification.place.findings.append(ALTERED)
        return verification

    async def _save(self, job: str, verification: Verification, verified: int) -> None:
        place = document_of(verification.bounds, verification.place)
        await self._put(
            job,
            {
                "verified": verified,
                "of": verification.bounds.up_to - verification.bounds.after,
                "saved": self._desk.seals.sealed(f"verification:{job}", place),
            },
        )

    async def _end(self, job: str, verification: Verification) -> None:
        verdict = await self._verifier.completed(verification)
        result = dataclasses.asdict(verdict) | {"findings": list(verdict.findings)}
        await self._put(
            job,
            {
                "state": "done",
                "verified": verdict.verified,
                "of": verification.bounds.up_to - verification.bounds.after,
                "result": self._desk.seals.sealed(f"verdict:{job}", result),
                "endedAt": self._desk.clock.now(),
            },
        )
        log.info("audit.verified", job=job, ok=verdict.broken is None, verified=verdict.verified)

    async def _put(self, job: str, members: dict[str, Any]) -> None:
        async def body(tx: Transaction) -> None:
            await self._lease.assert_held(tx)
            await self._desk.jobs.save(job, members, tx)

        await self._desk.transactions.run(body)
