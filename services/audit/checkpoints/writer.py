"""Making a checkpoint, and refusing to: what is signed once vouches for the log for ever.

Before it signs, the writer looks at what it signed before (in MongoDB and at the witness), re-hashes every entry since,
and extends the tree whose root it signed. Whatever does not fit is an alarm, and nothing is signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from prometheus_client import Counter, Gauge

from services.audit.checkpoints.frontier import Frontier
from services.audit.checkpoints.keys import CheckpointKeys, complaint
from services.audit.checkpoints.models import Reason, Row, previous_hash, witness_bytes
from services.audit.checkpoints.repository import CheckpointRepository, SupersededError
from services.audit.checkpoints.witness import Witness
from services.audit.models import Head, Stored
from services.audit.verifier import ChainBrokenError, ChainLinks
from shared.clock import Clock, rfc3339
from shared.errors import Conflict, Unavailable
from shared.leases import Lease
from shared.mongo import Claim, Transaction, Transactions

log = structlog.get_logger()

WRITTEN = "written"
_PATIENCE = 20
_PAUSE_SECONDS = 0.25

_refused = Gauge("dezky_audit_checkpoint_refused", "1 while the log is not what was signed, and no checkpoint is made")
_number = Gauge("dezky_audit_checkpoint_number", "Number of the newest checkpoint that this replica has made")
_made = Counter("dezky_audit_checkpoints_total", "Checkpoints made", ["reason"])


class CheckpointRefused(Conflict):
    code, title = "checkpoint_refused", "The log is not what was signed before: nothing is signed"


class CheckpointBusy(Unavailable):
    code, title = "checkpoint_busy", "Another replica is making a checkpoint"


class Log(Protocol):
    """What is signed: the repository of entries."""

    async def head(self) -> Head | None: ...

    def walk(self, after: int, up_to: int) -> AsyncIterator[list[Stored]]: ...


class Tree(Protocol):
    """The stored RFC 6962 tree, which proofs are made from."""

    async def grow(self, size: int) -> bytes: ...


@dataclass(frozen=True)
class Extras:
    """What a checkpoint has beside its signatures, as far as it is configured.

    Attributes:
        tree: must arrive at the root that is signed.
        note: number of the checkpoint, size and root → the C2SP signed note.
        witness: must hold nothing else than what is signed.
    """

    tree: Tree | None = None
    note: Callable[[int, int, bytes], str] | None = None
    witness: Witness | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint, and whether it is a new one."""

    row: Row
    is_new: bool


@dataclass(frozen=True)
class Commits:
    """How and when a checkpoint becomes true."""

    transactions: Transactions
    clock: Clock


class CheckpointWriter:
    """Makes checkpoints, one at a time on the whole platform: under a lease, fenced, on top of the newest number."""

    def __init__(
        self,
        log_: Log,
        repository: CheckpointRepository,
        keys: CheckpointKeys,
        extras: Extras,
        lease: Lease,
        commits: Commits,
    ) -> None:
        self._log = log_
        self._repository = repository
        self._keys = keys
        self._extras = extras
        self._lease = lease
        self._commits = commits
        # The lease tells replicas apart; within one, its worker and its requests take turns.
        self._turn = asyncio.Lock()

    async def make(self, reason: Reason, claim: Claim | None = None) -> Made | None:
        """Sign the head, unless it is signed already; None for an empty log.

        Raises:
            CheckpointRefused: the log, or what was signed before, is not what it was. An alarm.
            CheckpointBusy: another replica has been making one for too long.
            SupersededError, LeaseLost: another replica was faster.
        """
        async with self._turn:
            await self._take()
            try:
                made = await self._make(reason, claim)
            except ChainBrokenError as error:
                raise self._refusal(f"{error.broken.kind} at entry {error.broken.seq}") from error
            finally:
                await self._lease.release()
        _refused.set(0)
        return made

    async def _take(self) -> None:
        for _ in range(_PATIENCE):
            if await self._lease.acquire():
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise CheckpointBusy("try again in a moment")

    async def _make(self, reason: Reason, claim: Claim | None) -> Made | None:
        previous = await self._repository.newest()
        if previous is not None and (wrong := complaint(self._keys, previous)) is not None:
            raise self._refusal(f"checkpoint {previous['_id']} is not what was signed: {wrong}")
        await self._compare_with_witness(previous)
        head = await self._log.head()
        signed = Head() if previous is None else Head(previous["headSeq"], previous["headHash"])
        if head is None or head.seq <= signed.seq:
            return self._nothing_new(previous, signed, head)
        frontier = await self._extended(previous, signed, head)
        root = frontier.root()
        if self._extras.tree is not None and await self._extras.tree.grow(head.seq) != root:
            raise self._refusal(f"the stored tree of {head.seq} leaves has another root than the entries")
        row = self._signed(previous, head, root, reason)
        await self._commit(row, frontier, claim)
        _number.set(row["_id"])
        _made.labels(reason).inc()
        log.info("audit.checkpoint", number=row["_id"], seq=head.seq, reason=reason)
        return Made(row, is_new=True)

    def _nothing_new(self, previous: Row | None, signed: Head, head: Head | None) -> Made | None:
        if (Head() if head is None else head) != signed:
            raise self._refusal(f"the log ends at {0 if head is None else head.seq}, and {signed.seq} was signed")
        return None if previous is None else Made(previous, is_new=False)

    async def _compare_with_witness(self, previous: Row | None) -> None:
        """Refuse when the witness knows more than MongoDB, or something else. While it is away, go on without."""
        witness = self._extras.witness
        if witness is None:
            return
        number = 0 if previous is None else previous["_id"]
        try:
            newest = await witness.newest_number(number)
            copy = None if previous is None else await witness.copy(number)
        except Unavailable as error:
            log.warning("audit.witness_away", error=str(error))
            return
        if newest > number:
            if await self._repository.newest_number() != number:
                raise SupersededError("a checkpoint was made meanwhile")
            raise self._refusal(f"the witness holds checkpoint {newest}, and MongoDB none after {number}")
        if copy is not None and previous is not None and copy != witness_bytes(previous):
            raise self._refusal(f"the witness holds another checkpoint {number}")

    async def _extended(self, previous: Row | None, signed: Head, head: Head) -> Frontier:
        """The tree of the previous checkpoint with the entries since, each of them hashed again and linked."""
        frontier = await self._known_frontier(previous)
        links = ChainLinks(signed)
        async for batch in self._log.walk(signed.seq, head.seq):
            await asyncio.to_thread(_extend, links, frontier, batch)
            if not await self._lease.acquire():
                raise SupersededError("another replica has taken over")
        if links.at != head:
            raise self._refusal(f"the entries end at {links.at.seq}, and the head says {head.seq}")
        return frontier

    async def _known_frontier(self, previous: Row | None) -> Frontier:
        if previous is None:
            return Frontier()
        place = await self._repository.place(WRITTEN) or {}
        size, root = previous["headSeq"], previous["rootHash"]
        if (known := Frontier.believed(size, place.get("frontier", ()), root)) is not None:
            return known
        log.info("audit.tree_rebuilt", size=size)
        frontier, links = Frontier(), ChainLinks()
        async for batch in self._log.walk(0, size):
            await asyncio.to_thread(_extend, links, frontier, batch)
            if not await self._lease.acquire():
                raise SupersededError("another replica has taken over")
        if frontier.size != size or frontier.root().hex() != root:
            raise self._refusal(f"the entries up to {size} are not those that were signed")
        return frontier

    def _signed(self, previous: Row | None, head: Head, root: bytes, reason: Reason) -> Row:
        row: Row = {
            "_id": 1 if previous is None else previous["_id"] + 1,
            "at": rfc3339(self._commits.clock.now()),
            "headSeq": head.seq,
            "headHash": head.hash,
            "rootHash": root.hex(),
            "prevCheckpointHash": previous_hash(previous),
            "reason": reason,
        }
        note = self._extras.note
        return row | {
            "signatures": self._keys.sign(row),
            "note": None if note is None else note(row["_id"], head.seq, root),
        }

    async def _commit(self, row: Row, frontier: Frontier, claim: Claim | None) -> None:
        place = {"number": row["_id"], "frontier": frontier.nodes()}

        async def body(tx: Transaction) -> Made:
            await self._lease.assert_held(tx)
            await self._repository.insert(row, row["_id"] - 1, tx)
            await self._repository.save_place(WRITTEN, place, tx)
            return Made(row, is_new=True)

        await self._commits.transactions.run(body, claim)

    def _refusal(self, why: str) -> CheckpointRefused:
        _refused.set(1)
        log.error("audit.checkpoint_refused", why=why)
        return CheckpointRefused(why)


def _extend(links: ChainLinks, frontier: Frontier, batch: Sequence[Any]) -> None:
    for entry in batch:
        links.check(entry)
        frontier.append(entry["hash"])
