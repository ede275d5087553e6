"""Verification as docs/audit-format.md says it: entries and checkpoints in one walk, and the first break is the answer.

One batch of entries is in memory at a time. Hashing runs in a thread, so that a long verification delays no request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.audit.checkpoints.frontier import Frontier
from services.audit.models import Break, Head, Stored, Verdict
from services.audit.personal import Vault
from services.audit.verifications.places import Bounds, Place, Scope
from services.audit.verifications.sources import Checkpoints, Seen, bad, hash_of
from services.audit.verifier import ChainBrokenError, ChainWalk, Log, owners_of


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint that was verified before, and the tree that it signed."""

    number: int
    checkpoint: str
    frontier: tuple[str, ...]


class Walker:
    """The part that computes: entries in order, and each checkpoint in its turn. Used from one thread at a time."""

    def __init__(self, checkpoints: Checkpoints, vault: Vault, place: Place) -> None:
        self._checkpoints = checkpoints
        self._place = place
        self.walk = ChainWalk(vault, place.at)
        self.queue: deque[Seen] = deque()
        self.anchor: Anchor | None = None
        self._examined = 0

    def entries(self, batch: Sequence[Stored], keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Check the next entries, and the checkpoints among them. Raises ChainBrokenError at the first break."""
        self.walk.forget_keys()
        try:
            for entry in batch:
                self.examine()
                self.walk.check(entry, keys)
                if self._place.frontier is not None:
                    self._place.frontier.append(entry["hash"])
                self._compare()
        finally:
            self._place.at = self.walk.at

    def examine(self) -> None:
        """Check the next checkpoint by itself, once it is its turn."""
        if not self.queue or self._examined == self.queue[0].number:
            return
        seen, at = self.queue[0], self.walk.at.seq
        self._checkpoints.examine(seen, at)
        row = seen.believed or {}
        if row["prevCheckpointHash"] != self._place.checkpoint:
            raise bad(
                seen.number,
                row["headSeq"],
                self._place.checkpoint,
                row["prevCheckpointHash"],
                "prevCheckpointHash",
            )
        if row["headSeq"] <= at:
            raise bad(seen.number, row["headSeq"], f"an entry after {at}", row["headSeq"], "headSeq")
        self._examined = seen.number

    def _compare(self) -> None:
        """Compare the entries so far with the checkpoint that signs them, if one ends here."""
        if not self.queue or self.queue[0].head_seq != self.walk.at.seq:
            return
        seen, at = self.queue.popleft(), self.walk.at
        row = seen.believed or {}
        if row["headHash"] != at.hash:
            raise bad(seen.number, at.seq, row["headHash"], at.hash, "headHash")
        frontier = self._place.frontier
        if frontier is not None:
            root = frontier.root().hex()
            if row["rootHash"] != root:
                raise bad(seen.number, at.seq, row["rootHash"], root, "rootHash")
        if seen.stored is None and self._checkpoints.has_stored:
            raise bad(seen.number, at.seq, "the checkpoint that the witness holds", "none in MongoDB")
        self._place.number, self._place.checkpoint = seen.number, hash_of(row)
        self._place.checkpoints += 1
        if seen.witnessed is not None:
            self._place.witnessed_seq = at.seq
        if frontier is not None:
            self.anchor = Anchor(seen.number, self._place.checkpoint, tuple(frontier.nodes()))


class Verification:
    """One verification, in steps; `bounds` and `place` say at any moment where it is."""

    def __init__(self, log: Log, checkpoints: Checkpoints, vault: Vault) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._vault = vault
        self.bounds = Bounds()
        self.place = Place()
        self._walker = Walker(checkpoints, vault, self.place)
        self.broken: Break | None = None

    async def run(self, scope: Scope | None = None, anchor: Anchor | None = None) -> Verdict:
        """Verify from the start to the end. Raises Unavailable where only the witness counts and it is away."""
        await self.start(scope or Scope(), anchor)
        async for _ in self.steps():
            pass
        return self.verdict()

    @property
    def anchor(self) -> Anchor | None:
        """The newest checkpoint that held, for a later verification to begin at."""
        return self._walker.anchor

    async def start(self, scope: Scope, anchor: Anchor | None = None) -> None:
        """Say what there is to verify, and from where; a break already here is kept for the verdict."""
        # Checkpoints before the head: each of them was made of a head that is not newer than the one read now.
        bounds = self.bounds
        bounds.newest, bounds.witnessed, findings = await self._checkpoints.newest()
        self.place.findings += findings
        try:
            await self._measure()
            if scope.since_checkpoint:
                await self._begin_at(anchor)
            elif scope.first > 1 or scope.last is not None:
                await self._begin_within(scope)
        except ChainBrokenError as error:
            self.broken = error.broken
        self._walker = Walker(self._checkpoints, self._vault, self.place)

    async def resume(self, bounds: Bounds, place: Place) -> bool:
        """Go on from a saved place; False, and at the start, if the entry there is not the one that was verified."""
        if place.at.seq and (await self._hash_at(place.at.seq)) != place.at.hash:
            return False
        self.bounds, self.place = bounds, place
        self._walker = Walker(self._checkpoints, self._vault, place)
        self._walker.walk.lost_keys |= set(place.lost)
        return True

    async def steps(self) -> AsyncIterator[int]:
        """Verify batch by batch; yields how many entries hold so far. Stops at the first break."""
        if self.broken is not None:
            return
        try:
            async for batch in self._log.walk(self.place.at.seq, self.bounds.up_to):
                await self._load(self.place.at.seq + len(batch))
                keys = {row["_id"]: row for row in await self._log.keys_for(owners_of(batch), ())}
                await asyncio.to_thread(self._walker.entries, batch, keys)
                self.place.lost = sorted(self._walker.walk.lost_keys)
                yield self.place.at.seq - self.bounds.after
            await self._finish()
        except ChainBrokenError as error:
            self.place.lost = sorted(self._walker.walk.lost_keys)
            self.broken = error.broken

    def verdict(self) -> Verdict:
        """What was found."""
        lost = (f"the data key of {owner} is missing, and no erasure is recorded" for owner in self.place.lost)
        trouble = [] if self._checkpoints.trouble is None else [self._checkpoints.trouble]
        bounds = self.bounds
        return Verdict(
            verified=self.place.at.seq - bounds.after,
            head_seq=bounds.head.seq if bounds.head else 0,
            oldest_seq=bounds.oldest,
            broken=self.broken,
            findings=(*self.place.findings, *trouble, *lost),
            checkpoints=self.place.checkpoints,
            after=bounds.after,
            since_checkpoint=bounds.since,
            witnessed_seq=self.place.witnessed_seq,
        )

    # the beginning

    async def _measure(self) -> None:
        """Read the ends of the log, and refuse what no walk over numbers would meet."""
        bounds = self.bounds
        bounds.head = await self._log.head()
        bounds.oldest, last = await self._log.ends()
        if bounds.head is None and last is not None:
            # The first entry and its head commit together, maybe between the two reads.
            bounds.head = await self._log.head()
            if bounds.head is None:
                raise ChainBrokenError("truncated-tail", 0, "a head", f"no head, and entries up to {last}")
        bounds.up_to = 0 if bounds.head is None else bounds.head.seq
        if strays := await self._checkpoints.strays():
            raise bad(0, 0, "checkpoints from 1 on", strays[0], "_id")
        if bounds.oldest is not None and bounds.oldest < 1:
            raise ChainBrokenError("seq-gap", 1, 1, bounds.oldest)

    async def _begin_at(self, anchor: Anchor | None) -> None:
        """Begin at a checkpoint that was verified before, if it is still what it was; else at the first entry."""
        if anchor is None or anchor.number > self.bounds.newest:
            self.place.findings.append("no checkpoint was verified before: this is a verification of the whole log")
            return
        row = await self._checkpoints.anchor(anchor.number, self.bounds.witnessed)
        if hash_of(row) != anchor.checkpoint:
            raise bad(anchor.number, row["headSeq"], anchor.checkpoint, hash_of(row))
        seq, head_hash = row["headSeq"], row["headHash"]
        if (found := await self._hash_at(seq)) != head_hash:
            if self.bounds.up_to < seq:
                raise self._short_of(anchor.number, seq)
            raise bad(anchor.number, seq, head_hash, found, "headHash")
        self.bounds.after, self.bounds.since = seq, anchor.number
        self.place.at = Head(seq, head_hash)
        self.place.number, self.place.checkpoint = anchor.number, anchor.checkpoint
        self.place.frontier = Frontier.believed(seq, anchor.frontier, row["rootHash"])

    async def _begin_within(self, scope: Scope) -> None:
        """Widen a range to the checkpoints around it, so that a signature vouches for its end."""
        bounds, place = self.bounds, self.place
        if scope.first > bounds.up_to:
            raise ChainBrokenError("truncated-tail", bounds.up_to, f"an entry {scope.first}", "none")
        if scope.first > 1:
            before = await self._hash_at(scope.first - 1)
            if before is None:
                raise ChainBrokenError("seq-gap", scope.first - 1, scope.first - 1, "none")
            bounds.after, place.at, place.frontier = scope.first - 1, Head(scope.first - 1, before), None
            number = await self._checkpoints.first_at(scope.first, bounds.newest, bounds.witnessed) - 1
            if number:
                row = await self._checkpoints.anchor(number, bounds.witnessed)
                place.number, place.checkpoint = number, hash_of(row)
        if scope.last is not None and scope.last < bounds.up_to:
            number = await self._checkpoints.first_at(scope.last, bounds.newest, bounds.witnessed)
            if number <= bounds.newest:
                row = await self._checkpoints.anchor(number, bounds.witnessed)
                bounds.up_to = min(bounds.up_to, row["headSeq"])
            else:
                bounds.up_to = scope.last
                place.findings.append(f"no checkpoint vouches for entry {scope.last} yet")

    async def _hash_at(self, seq: int) -> str | None:
        async for batch in self._log.walk(seq - 1, seq):
            return str(batch[0].get("hash"))
        return None

    # the middle

    async def _load(self, seq: int) -> None:
        """Have every checkpoint at hand that may end at or before `seq`; those that cannot be true are far enough."""
        queue = self._walker.queue
        while True:
            last = queue[-1] if queue else None
            number = self.place.number if last is None else last.number
            if number >= self.bounds.newest or (last is not None and not _is_before(queue, seq)):
                return
            queue.extend(await self._checkpoints.load(number + 1, self.bounds.newest, self.bounds.witnessed))

    # the end

    async def _finish(self) -> None:
        bounds, at = self.bounds, self.place.at
        if at.seq == bounds.up_to and not bounds.to_head:
            return
        await self._load(at.seq + 1)
        # A checkpoint that is bad by itself says nothing about how long the log must be.
        self._walker.examine()
        if self._walker.queue:
            seen = self._walker.queue[0]
            raise self._short_of(seen.number, seen.head_seq or 0)
        if at.seq < bounds.up_to:
            head = 0 if bounds.head is None else bounds.head.seq
            raise ChainBrokenError("truncated-tail", head, f"entries up to {bounds.up_to}", f"up to {at.seq}")
        await self._check_head()

    def _short_of(self, number: int, seq: int) -> ChainBrokenError:
        head = 0 if self.bounds.head is None else self.bounds.head.seq
        return ChainBrokenError(
            "truncated-tail", head, f"entries up to {seq}", f"up to {self.place.at.seq}", checkpoint=number
        )

    async def _check_head(self) -> None:
        head, at = self.bounds.head, self.place.at
        if head is None:
            return
        if at.hash != head.hash:
            raise ChainBrokenError("truncated-tail", head.seq, head.hash, at.hash)
        # In this order: head and entries commit together, so a head read later is never behind an entry read earlier.
        _, last = await self._log.ends()
        now = await self._log.head()
        if last is not None and (now is None or now.seq < last):
            raise ChainBrokenError("truncated-tail", head.seq, f"no entry after {head.seq}", f"entries up to {last}")


def _is_before(queue: Sequence[Seen], seq: int) -> bool:
    """Whether the last one at hand ends before `seq`, as far as that can be true."""
    ends = queue[-1].head_seq
    if ends is None or ends >= seq:
        return False
    return len(queue) < 2 or (queue[-2].head_seq or ends) < ends
