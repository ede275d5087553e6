"""Where a verification is, so that another process can go on: sealed, because MongoDB is what is being verified.

A place that MongoDB's writer could make up would let a verification skip what they changed. The seal is an HMAC under
a key derived from AUDIT_SIGNING_KEY; a place without it counts for nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.canonical import GENESIS, NotCanonicalError, canonical_json
from services.audit.checkpoints.frontier import Frontier
from services.audit.models import Head

_PURPOSE = b"dezky-audit/place/v1"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be verified: entries `first` to `last` (None: to the head), or what came since a checkpoint."""

    first: int = 1
    last: int | None = None
    since_checkpoint: bool = False


@dataclass(slots=True)
class Bounds:
    """What a verification was given at its start. What is added later belongs to the next one.

    Attributes:
        after: the entry behind which it began.
        up_to: the last entry that it looks at.
        head: the head of the log, if it has one.
        newest: the highest number of a checkpoint.
        witnessed: the highest number that the witness holds; None: there is no witness, or it is away.
        since: the checkpoint that vouches for `after`.
        oldest: the lowest number among the entries that are not archived.
    """

    after: int = 0
    up_to: int = 0
    head: Head | None = None
    newest: int = 0
    witnessed: int | None = None
    since: int | None = None
    oldest: int | None = None

    @property
    def to_head(self) -> bool:
        return self.head is None or self.up_to >= self.head.seq


@dataclass(slots=True)
class Place:
    """How far a verification has come.

    Attributes:
        at: the last entry that holds.
        number, checkpoint: the last checkpoint that holds, and its hash.
        frontier: the tree of the entries so far; None where it began in the middle.
        witnessed_seq: the entry up to which the checkpoints were the witness's.
        findings: what was noticed on the way; lost: owners whose data keys are missing.
    """

    at: Head = dataclasses.field(default_factory=Head)
    number: int = 0
    checkpoint: str = GENESIS
    checkpoints: int = 0
    frontier: Frontier | None = dataclasses.field(default_factory=Frontier)
    witnessed_seq: int | None = None
    findings: list[str] = dataclasses.field(default_factory=list)
    lost: list[str] = dataclasses.field(default_factory=list)


def document_of(bounds: Bounds, place: Place) -> dict[str, Any]:
    """Both as one document of the canonical form's values."""
    document = {name: getattr(place, name) for name in Place.__slots__ if name not in {"at", "frontier"}}
    return document | {
        "at": dataclasses.asdict(place.at),
        "frontier": None if place.frontier is None else place.frontier.nodes(),
        "bounds": dataclasses.asdict(bounds),
    }


def read(document: Mapping[str, Any]) -> tuple[Bounds, Place]:
    """The inverse of `document_of`; for documents whose seal was good."""
    members = dict(document)
    bounds = members.pop("bounds")
    head = bounds["head"]
    at = Head(**members.pop("at"))
    nodes = members.pop("frontier")
    frontier = None if nodes is None else Frontier(at.seq, [bytes.fromhex(node) for node in nodes])
    return Bounds(**{**bounds, "head": None if head is None else Head(**head)}), Place(
        at=at, frontier=frontier, **members
    )


class Seals:
    """Seals documents that are kept in MongoDB, each for one purpose."""

    def __init__(self, signing_key: bytes) -> None:
        self._key = hmac.digest(signing_key, _PURPOSE, hashlib.sha256)

    def sealed(self, purpose: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return {"place": dict(document), "seal": self._seal(purpose, document)}

    def opened(self, purpose: str, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The document, if it was sealed here for this purpose; else None."""
        if stored is None:
            return None
        document, seal = stored.get("place"), stored.get("seal")
        if not isinstance(document, dict) or not isinstance(seal, str):
            return None
        try:
            expected = self._seal(purpose, document)
        except NotCanonicalError:
            return None
        return document if hmac.compare_digest(expected.encode(), seal.encode()) else None

    def _seal(self, purpose: str, document: Mapping[str, Any]) -> str:
        return hmac.new(self._key, canonical_json([purpose, document]), hashlib.sha256).hexdigest()
