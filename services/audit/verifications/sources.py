"""Checkpoints as a verification meets them: by number, each with what MongoDB and what the witness holds.

Where the witness has a checkpoint, its copy is the one that is believed, and MongoDB's must equal it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from services.audit.checkpoints.keys import CheckpointKeys, complaint
from services.audit.checkpoints.models import Row, checkpoint_hash, is_number, witness_bytes
from services.audit.models import BreakKind
from services.audit.verifier import ChainBrokenError
from shared.errors import Unavailable

KIND: BreakKind = "checkpoint-signature-mismatch"
_AT_ONCE = 64

NO_WITNESS = "no witness is configured: checkpoints are compared with nothing outside MongoDB"


class Source(Protocol):
    """Where checkpoints lie: the repository, the witness, or a fake of them."""

    async def newest_number(self) -> int: ...

    async def row(self, number: int) -> Row | None: ...

    async def rows(self, first: int, last: int) -> list[Row]: ...

    async def strays(self) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One number, and what lies under it."""

    number: int
    stored: Row | None
    witnessed: Row | None

    @property
    def believed(self) -> Row | None:
        return self.stored if self.witnessed is None else self.witnessed

    @property
    def head_seq(self) -> int | None:
        """What it says that it signs; not yet believed."""
        seq: Any = (self.believed or {}).get("headSeq")
        return int(seq) if is_number(seq) else None


def bad(number: int, seq: int, expected: object, actual: object, field: str | None = None) -> ChainBrokenError:
    """A break at a checkpoint."""
    return ChainBrokenError(KIND, seq, expected, actual, field, checkpoint=number)


class Checkpoints:
    """The checkpoints of one verification. Without `stored`, the witness alone is asked and must answer."""

    def __init__(self, keys: CheckpointKeys, stored: Source | None, witness: Source | None) -> None:
        self._keys = keys
        self._stored = stored
        self._witness = witness
        self.trouble: str | None = None

    @property
    def has_stored(self) -> bool:
        return self._stored is not None

    async def newest(self) -> tuple[int, int | None, list[str]]:
        """The highest number, the witness's highest number if it answers, and what is to be said about it.

        The witness is asked first: what it holds was in MongoDB before, so that nothing is missed there by chance.
        """
        witnessed, findings = await self._newest_witnessed()
        stored = 0 if self._stored is None else await self._stored.newest_number()
        newest = max(stored, witnessed or 0)
        if self._stored is not None and witnessed is not None and witnessed < newest:
            findings.append(f"checkpoints {witnessed + 1} to {newest} are not witnessed yet")
        return newest, witnessed, findings

    async def _newest_witnessed(self) -> tuple[int | None, list[str]]:
        if self._witness is None:
            return None, [NO_WITNESS]
        try:
            return await self._witness.newest_number(), []
        except Unavailable as error:
            if self._stored is None:
                raise
            return None, [f"the witness is away: {error}"]

    async def strays(self) -> list[Any]:
        return [] if self._stored is None else await self._stored.strays()

    async def load(self, first: int, newest: int, witnessed: int | None) -> list[Seen]:
        """The next few numbers from `first` on, none left out."""
        last = min(first + _AT_ONCE - 1, newest)
        copies = await self._copies(first, min(last, witnessed or 0))
        rows = [] if self._stored is None else await self._stored.rows(first, last)
        stored = _numbered(rows)
        return [Seen(number, stored.get(number), copies.get(number)) for number in range(first, last + 1)]

    async def first_at(self, seq: int, newest: int, witnessed: int | None) -> int:
        """The number of the first checkpoint that signs entry `seq` or a later one; newest + 1 if none does."""
        low, high = 1, newest + 1
        while low < high:
            middle = (low + high) // 2
            if await self._head_seq(middle, witnessed) >= seq:
                high = middle
            else:
                low = middle + 1
        return low

    async def _head_seq(self, number: int, witnessed: int | None) -> int:
        return (await self.anchor(number, witnessed))["headSeq"]  # type: ignore[no-any-return]

    async def anchor(self, number: int, witnessed: int | None) -> Row:
        """One checkpoint, checked by itself. Raises ChainBrokenError."""
        seen = await self._one(number, witnessed)
        self.examine(seen, 0)
        if seen.believed is None:
            raise bad(number, 0, f"checkpoint {number}", "none")
        return seen.believed

    async def _one(self, number: int, witnessed: int | None) -> Seen:
        copies = await self._copies(number, min(number, witnessed or 0))
        stored = None if self._stored is None else await self._stored.row(number)
        return Seen(number, stored, copies.get(number))

    async def _copies(self, first: int, last: int) -> dict[int, Row]:
        """The witness's copies. Should it go away in the middle, the rest is verified without it, and that is said."""
        if self._witness is None or first > last:
            return {}
        try:
            return {row["_id"]: row for row in await self._witness.rows(first, last)}
        except Unavailable as error:
            if self._stored is None:
                raise
            self._witness, self.trouble = None, f"the witness went away at checkpoint {first}: {error}"
            return {}

    def examine(self, seen: Seen, seq: int) -> None:
        """Check one by itself: it is there, of the right form, signed, and the same in both places."""
        row = seen.believed
        if row is None:
            raise bad(seen.number, seq, f"checkpoint {seen.number}", "none")
        place = seen.head_seq or seq
        if type(row.get("_id")) is bool or row.get("_id") != seen.number:
            raise bad(seen.number, place, f"checkpoint {seen.number}", row.get("_id"), "_id")
        if (wrong := complaint(self._keys, row)) is not None:
            raise bad(seen.number, place, "the form and the signatures of a checkpoint", wrong)
        if seen.witnessed is not None and seen.stored is not None and differs(seen.stored, seen.witnessed):
            raise bad(seen.number, place, "the witness's copy", "another checkpoint in MongoDB")


def differs(stored: Row, witnessed: Row) -> bool:
    """Whether two rows are not the same checkpoint, byte for byte."""
    try:
        return witness_bytes(stored) != witness_bytes(witnessed)
    except (ValueError, KeyError):
        return True


def hash_of(row: Row) -> str:
    return checkpoint_hash(row)


def _numbered(rows: Iterable[Row]) -> dict[int, Row]:
    """By number; a row between two numbers stands under the lower one, where it is found not to be it."""
    found: dict[int, Row] = {}
    for row in rows:
        number = row["_id"]
        found[int(number)] = row
    return found
