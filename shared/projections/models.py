"""What a projection is, which generations it has, and how rows differ from their owner's: values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from shared.contracts.envelope import Contract
from shared.mongo import Document, Index

S = TypeVar("S", bound=Contract)

Kind = Literal["missing", "phantom", "stale", "ahead", "different"]
KINDS: tuple[Kind, ...] = ("missing", "phantom", "stale", "ahead", "different")


@dataclass(frozen=True)
class ProjectionSpec(Generic[S]):
    """What a projection is made of.

    Attributes:
        name: of the projection and of its first collection.
        owner: the service whose aggregates it follows.
        snapshot: the owner's ``GET /internal/snapshots/<snapshot>``.
        consumer: the durable consumer that brings the events.
        contract: an item of the snapshot, which is the ``state`` of the aggregate's newest event.
        row: the row of a state: with ``_id``, ``version`` and ``order_by``, from nothing but the state.
        order_by: the field by which the snapshot is ordered; an immutable text, unique.
        indexes: of every generation.
    """

    name: str
    owner: str
    snapshot: str
    consumer: str
    contract: type[S]
    row: Callable[[S], Document]
    order_by: str = "_id"
    indexes: Sequence[Index] = ()


@dataclass(frozen=True, slots=True)
class Building:
    """The generation that is being built.

    Attributes:
        filling: handlers write it; before, it is an empty collection that gets its indexes.
        cursor: where the owner's snapshot goes on; None at its beginning.
        rows: taken over from the snapshot so far.
    """

    generation: int
    filling: bool = False
    cursor: str | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Pointer:
    """The generations that there are.

    Attributes:
        current: the one that is read.
        newest: the highest number ever given; none is given twice.
        retiring: read until a moment ago and still written, for whoever looked at the pointer before it moved.
        dropping: no longer written, and gone once every transaction that might still write it has ended.
    """

    current: int = 1
    newest: int = 1
    building: Building | None = None
    retiring: tuple[int, ...] = ()
    dropping: tuple[int, ...] = ()

    @property
    def written(self) -> tuple[int, ...]:
        """The generations that a handler writes."""
        built = (self.building.generation,) if self.building is not None and self.building.filling else ()
        return (self.current, *built, *self.retiring)

    @property
    def known(self) -> frozenset[int]:
        """The generations whose collections are somebody's."""
        built = () if self.building is None else (self.building.generation,)
        return frozenset((self.current, *built, *self.retiring, *self.dropping))


def pointer_of(row: Document | None) -> Pointer:
    """Return the pointer in ``row``; without one there is the first generation alone."""
    if row is None:
        return Pointer()
    building = row["building"]
    return Pointer(
        current=row["current"],
        newest=row["newest"],
        building=None if building is None else Building(**building),
        retiring=tuple(entry["generation"] for entry in row["retiring"]),
        dropping=tuple(entry["generation"] for entry in row["dropping"]),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what its owner says.

    Attributes:
        kind: ``missing`` here, ``phantom`` (not there), ``stale`` or ``ahead`` by version, ``different`` with the same.
        row: the ``_id``.
        ours, theirs: versions.
        names: of the fields that differ; never their values.
    """

    kind: Kind
    row: str
    ours: int | None = None
    theirs: int | None = None
    names: tuple[str, ...] = ()


def difference(expected: Document, found: Document | None) -> Difference | None:
    """Compare a row with what it should be; what else it holds (a counter of this service) is its own affair."""
    row, theirs = str(expected["_id"]), int(expected["version"])
    if found is None:
        return Difference("missing", row, None, theirs)
    version = found.get("version")
    ours = version if isinstance(version, int) else 0
    if ours != theirs:
        return Difference("stale" if ours < theirs else "ahead", row, ours, theirs)
    absent = object()
    names = tuple(sorted(name for name, value in expected.items() if found.get(name, absent) != value))
    return Difference("different", row, ours, theirs, names) if names else None


def still_there(first: Difference, second: Difference) -> bool:
    """Tell whether a difference seen twice is one, and no event that was on its way both times."""
    if second.kind != first.kind:
        return False
    if second.kind == "stale":
        return (second.ours or 0) < (first.theirs or 0)
    return True


@dataclass(frozen=True, slots=True)
class Findings:
    """What the newest comparison found.

    Attributes:
        rows: the first of them by the order of the snapshot.
        more: whether there were more than a comparison remembers: then the counts are at least these.
        trouble: why the newest attempt could not be ended, else None.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    rows: tuple[Difference, ...] = ()
    more: bool = False
    trouble: str | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Standing:
    """How a projection stands: its generations, when it was last compared, and what was found."""

    pointer: Pointer
    compared_at: datetime | None
    findings: Findings


def in_words(findings: Findings) -> str:
    """Return ``2 missing, 1 stale``, or ``none``."""
    parts = [f"{findings.counts[kind]} {kind}" for kind in KINDS if findings.counts.get(kind)]
    return (", ".join(parts) or "none") + (" at least" if findings.more else "")


def as_row(value: Difference) -> dict[str, Any]:
    """Return a difference as it is stored."""
    return {
        "kind": value.kind,
        "row": value.row,
        "ours": value.ours,
        "theirs": value.theirs,
        "names": list(value.names),
    }
