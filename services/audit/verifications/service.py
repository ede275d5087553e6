"""Verifying at once, and asking for a verification that takes longer than anybody waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from services.audit.checkpoints.models import is_number
from services.audit.models import Break, Head, Verdict
from services.audit.personal import Vault
from services.audit.sources import gaps_of
from services.audit.verifications.places import Scope, Seals
from services.audit.verifications.repository import VerificationRepository
from services.audit.verifications.sources import Checkpoints
from services.audit.verifications.verification import Anchor, Verification
from services.audit.verifier import Log
from shared.clock import Clock
from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.mongo import Claim, Document, Transaction, Transactions

VERIFIED = "verified"
MOST_OPEN = 20


class TooManyVerifications(Conflict):
    code, title = "too_many_verifications", "So many verifications are waiting that another one makes no sense"


class Places(Protocol):
    """Where the newest verified checkpoint is remembered (`CheckpointRepository`)."""

    async def place(self, name: str) -> Document | None: ...

    async def save_place(self, name: str, place: Document, tx: Transaction | None = None) -> None: ...


class Positions(Protocol):
    """The positions of the sources (`AuditRepository`)."""

    async def sources(self) -> list[Document]: ...


class Anchors:
    """The newest checkpoint that a verification from the first entry on has reached; sealed."""

    def __init__(self, places: Places, seals: Seals) -> None:
        self._places = places
        self._seals = seals

    async def newest(self) -> Anchor | None:
        document = self._seals.opened(VERIFIED, await self._places.place(VERIFIED))
        if document is None or not is_number(document.get("number")):
            return None
        return Anchor(document["number"], document["checkpoint"], tuple(document["frontier"]))

    async def remember(self, anchor: Anchor | None) -> None:
        """Keep it, unless a later one is kept."""
        known = await self.newest()
        if anchor is None or (known is not None and known.number >= anchor.number):
            return
        document = {"number": anchor.number, "checkpoint": anchor.checkpoint, "frontier": list(anchor.frontier)}
        await self._places.save_place(VERIFIED, self._seals.sealed(VERIFIED, document))


class Verifier:
    """Makes verifications, and completes their verdicts."""

    def __init__(
        self,
        log: Log,
        positions: Positions,
        checkpoints: Callable[[], Checkpoints],
        vault: Vault,
        anchors: Anchors,
    ) -> None:
        self._log = log
        self._positions = positions
        self._checkpoints = checkpoints
        self._vault = vault
        self._anchors = anchors
        # Two verifications at once would only slow each other down.
        self._turn = asyncio.Lock()

    def new(self) -> Verification:
        """One that has not begun."""
        return Verification(self._log, self._checkpoints(), self._vault)

    async def begun(self, scope: Scope) -> Verification:
        """One that has read what there is to verify."""
        verification = self.new()
        await verification.start(scope, await self._anchors.newest() if scope.since_checkpoint else None)
        return verification

    async def whole(self, scope: Scope | None = None) -> Verdict:
        """Verify now."""
        async with self._turn:
            verification = await self.begun(scope or Scope())
            async for _ in verification.steps():
                pass
            return await self.completed(verification)

    async def completed(self, verification: Verification) -> Verdict:
        """The verdict with the holes of the sources; a checkpoint that held is remembered."""
        verdict = verification.verdict()
        if verdict.broken is None:
            await self._anchors.remember(verification.anchor)
        gaps = gaps_of(await self._positions.sources())
        missing = [f"events {gap.first} to {gap.last} of {gap.source} have not arrived" for gap in gaps]
        findings = (*verdict.findings, *missing)
        return dataclasses.replace(verdict, findings=findings, archived_up_to=await self._log.archived_up_to())

    async def head(self) -> Head:
        return await self._log.head() or Head()


@dataclass(frozen=True, slots=True)
class Job:
    """A verification as callers see it.

    Attributes:
        state: `open`, `done`, or `void`: what MongoDB holds of the verdict is not what was written there.
        verified, of: entries that hold so far, and how many there are to verify.
    """

    id: str
    state: str
    scope: Scope
    verified: int = 0
    of: int | None = None
    verdict: Verdict | None = None


class VerificationService:
    """Jobs: asked for, and looked at."""

    def __init__(
        self,
        verifier: Verifier,
        jobs: VerificationRepository,
        transactions: Transactions,
        seals: Seals,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._jobs = jobs
        self._transactions = transactions
        self._seals = seals
        self._clock = clock

    async def verify(self) -> Verdict:
        """The verdict on the whole log, now."""
        return await self._verifier.whole()

    async def request(self, scope: Scope, claim: Claim | None = None) -> Job:
        """Ask for a verification. Raises Invalid for a range that the log has not, TooManyVerifications."""
        head = await self._verifier.head()
        if scope.first > max(head.seq, 1):
            raise Invalid.field("from", "beyond_head", f"the log ends at entry {head.seq}")
        job = Job(new_id(), "open", scope)

        async def body(tx: Transaction) -> Job:
            if await self._jobs.count_open(tx) >= MOST_OPEN:
                raise TooManyVerifications("wait until one of them is done")
            await self._jobs.add(
                {
                    "_id": job.id,
                    "state": "open",
                    "at": self._clock.now(),
                    "scope": dataclasses.asdict(scope),
                    "verified": 0,
                    "of": None,
                    "saved": None,
                    "result": None,
                },
                tx,
            )
            return job

        return await self._transactions.run(body, claim)

    async def read(self, job: str) -> Job:
        """A verification and how far it is. Raises NotFound."""
        row = await self._jobs.find(job)
        if row is None:
            raise NotFound("there is no such verification")
        state, verdict = row["state"], None
        if state == "done":
            document = self._seals.opened(f"verdict:{job}", row["result"])
            verdict = None if document is None else verdict_of(document)
            state = "void" if verdict is None else state
        return Job(job, state, Scope(**row["scope"]), row["verified"], row["of"], verdict)


def verdict_of(document: dict[str, Any]) -> Verdict:
    """A verdict as `dataclasses.asdict` left it in MongoDB."""
    broken = document["broken"]
    return Verdict(
        **{
            **document,
            "findings": tuple(document["findings"]),
            "broken": None if broken is None else Break(**broken),
        }
    )
