"""The witness: a bucket whose objects nobody can change before their retention ends (S3 Object Lock, COMPLIANCE).

Each checkpoint is one object, written once. What the witness holds was copied in order, and each copy was checked
against the one before it, so the witness never holds a chain that does not hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import structlog
from prometheus_client import Gauge

from services.audit.canonical import NotCanonicalError, canonical_json
from services.audit.checkpoints.keys import CheckpointKeys, complaint
from services.audit.checkpoints.models import Row, previous_hash, witness_bytes
from services.audit.checkpoints.repository import CheckpointRepository
from shared.clock import Clock, parse_rfc3339
from shared.errors import Unavailable

log = structlog.get_logger()

PREFIX = "checkpoints/"
_KEY = re.compile(r"checkpoints/([0-9]{12})\.json", re.ASCII)
# So many copies are read at a time; each is one request.
_AT_ONCE = 16

_differs = Gauge("dezky_audit_witness_differs", "1 while the witness holds another checkpoint than MongoDB")
_through = Gauge("dezky_audit_witnessed_checkpoint", "Number of the newest checkpoint that the witness holds")


class ObjectStore(Protocol):
    """One bucket. Every call has a deadline and raises `Unavailable` when its outcome is unknown."""

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool: ...

    async def get(self, key: str) -> bytes | None: ...

    async def keys(self, prefix: str, after: str = "") -> list[str]: ...


class WitnessDiffersError(Exception):
    """The witness holds something else under a number than MongoDB; it is never overwritten."""


class Witness:
    """Checkpoints in a bucket, by number."""

    def __init__(self, store: ObjectStore, retention: timedelta, clock: Clock) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock

    async def newest_number(self, after: int = 0) -> int:
        """The highest number above `after`, or `after`. Raises Unavailable."""
        keys = await self._store.keys(PREFIX, key_of(after) if after else "")
        return max([after, *(int(match[1]) for key in keys if (match := _KEY.fullmatch(key)))])

    async def copy(self, number: int) -> bytes | None:
        """The bytes under a number. Raises Unavailable."""
        return await self._store.get(key_of(number))

    async def row(self, number: int) -> Row | None:
        """The checkpoint under a number; one that cannot be read has none of a checkpoint's members."""
        body = await self.copy(number)
        return None if body is None else parsed(number, body)

    async def rows(self, first: int, last: int) -> list[Row]:
        """The checkpoints from one number to another, both included; those that are not there are left out."""
        found: list[Row] = []
        for start in range(first, last + 1, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, last + 1))
            rows: Sequence[Row | None] = await asyncio.gather(*(self.row(number) for number in numbers))
            found += [row for row in rows if row is not None]
        return found

    async def strays(self) -> list[Any]:
        """Nothing: a bucket's other objects are no checkpoints."""
        return []

    async def put(self, row: Row) -> None:
        """Copy a checkpoint; one that is there already is compared. Raises WitnessDiffersError, Unavailable."""
        key, body = key_of(row["_id"]), witness_bytes(row)
        until = self._clock.now() + self._retention
        if not await self._store.put_once(key, body, retain_until=until) and await self._store.get(key) != body:
            raise WitnessDiffersError(f"the witness holds another checkpoint {row['_id']}")


class Copier:
    """Brings the witness up to MongoDB, from where it stopped, in order."""

    def __init__(self, repository: CheckpointRepository, witness: Witness, keys: CheckpointKeys) -> None:
        self._repository = repository
        self._witness = witness
        self._keys = keys

    async def run(self) -> int:
        """Copy what is missing; returns the newest number copied.

        Raises WitnessDiffersError when what is in MongoDB does not continue what the witness holds, and Unavailable;
        what was copied before stays, and the next run goes on behind it.
        """
        number = await self._repository.copied()
        before = await self._before(number)
        async for row in self._repository.after(0 if before is None else number):
            self._check(row, before)
            await self._witness.put(row)
            await self._repository.save_copied(row["_id"])
            before = row
        number = 0 if before is None else int(before["_id"])
        _through.set(number)
        _differs.set(0)
        return number

    async def _before(self, number: int) -> Row | None:
        """The witness's own copy of the last checkpoint that it was given; what MongoDB remembers is only a hint."""
        row = await self._witness.row(number) if number else None
        if row is not None and (wrong := complaint(self._keys, row)) is not None:
            raise WitnessDiffersError(f"the witness's checkpoint {number} is not ours: {wrong}")
        return row

    def _check(self, row: Row, before: Row | None) -> None:
        # Junk in a store that forgets nothing would stay there for years, so it is looked at before.
        wrong = complaint(self._keys, row)
        number = 1 if before is None else before["_id"] + 1
        if wrong is None and row["_id"] != number:
            wrong = f"{row['_id']} comes where {number} is due"
        if wrong is None and row["prevCheckpointHash"] != previous_hash(before):
            wrong = "it does not continue the checkpoint before"
        if wrong is not None:
            raise WitnessDiffersError(f"checkpoint {row.get('_id')} is not copied: {wrong}")


async def copied(copier: Copier | None) -> bool:
    """Run a copier and say how it went; True when the witness is up to date."""
    if copier is None:
        return False
    try:
        await copier.run()
    except Unavailable as error:
        log.warning("audit.witness_away", error=str(error))
        return False
    except WitnessDiffersError as error:
        _differs.set(1)
        log.error("audit.witness_differs", error=str(error))  # noqa: TRY400 - the alarm is the message
        return False
    return True


def age_of(row: Row, clock: Clock) -> timedelta:
    """How long ago a checkpoint was made."""
    return clock.now() - parse_rfc3339(row["at"])


def key_of(number: int) -> str:
    """The object's key: `checkpoints/000000000042.json`."""
    return f"{PREFIX}{number:012d}.json"


def parsed(number: int, body: bytes) -> Row:
    """A copy as a row; one that is not in the canonical form has the one member `_id`, which no check accepts."""
    try:
        document = orjson.loads(body)
        if type(document) is dict and document.pop("number", None) == number:
            row = {"_id": number, **document}
            if canonical_json({"number": number, **document}) == body:
                return row
    except (orjson.JSONDecodeError, NotCanonicalError):
        pass
    return {"_id": number}
