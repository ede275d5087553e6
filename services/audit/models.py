"""What the audit service speaks of: facts that arrive, entries that stay, and what a verification finds.

Stored entries are plain mappings, not objects: a verifier must see every stored member exactly as it lies there, and
hashing millions of them leaves no room for a model each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from services.audit.canonical import GENESIS

Stored = dict[str, Any]
"""An entry as it lies in MongoDB: the canonical fields, `hash`, and the members named in DERIVED."""

DERIVED = ("_id", "hash", "sealed", "actorEmailHmac", "actions")

BreakKind = Literal[
    "event-hash-mismatch",
    "event-prev-hash-mismatch",
    "seq-gap",
    "truncated-tail",
    "checkpoint-signature-mismatch",
    "archive-manifest-mismatch",
]


@dataclass(frozen=True, slots=True)
class Owned:
    """A personal value in a fact: where it is (RFC 6901 pointer into the entry) and whose key seals it.

    Attributes:
        owner: None for who is known by address only; the key ring knows or makes the owner.
        address: the canonical e-mail address that the value is, where that leads to the owner; without one, an owner
            that is None is that of the fact's handle.
    """

    pointer: str
    owner: str | None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class TenantPlace:
    """Which partner a tenant belongs to, as of a version of the tenant."""

    slug: str
    partner: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Fact:
    """An event read and understood, before it has a place in the chain.

    Attributes:
        fields: every canonical field but `v`, `seq` and `prevHash`; personal values still in the clear.
        personal: where those are.
        address: canonical address of the actor: e-mail, else IP; the handle of actors without an id.
        about: canonical address whose owner seals the values that name none, where that is not the actor.
        mentions: canonical addresses in those values: if one of them was erased, they are sealed for nobody.
        source_seq: the source's own gapless number; None where the event gives none that can be believed.
        traceparent: of the request that it came from; of it, the entry holds the trace's id.
    """

    fields: Mapping[str, Any]
    personal: tuple[Owned, ...] = ()
    address: str | None = None
    source_seq: int | None = None
    tenant: TenantPlace | None = None
    about: str | None = None
    mentions: tuple[str, ...] = ()
    traceparent: str = ""

    @property
    def handle(self) -> str | None:
        """By which address the owner of the values that name none is known."""
        return self.about or self.address

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def source(self) -> str:
        return str(self.fields["source"])


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry's number and hash; `Head()` is the empty chain."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where the chain does not hold.

    Attributes:
        seq: the entry at fault; for `truncated-tail` the number that the head names; for
            `checkpoint-signature-mismatch` the number of the entry that the checkpoint signs, or the last before it
            that holds.
        field: the stored member at fault, where that is narrower than the entry.
        checkpoint: the number of the checkpoint at fault, or that the log falls short of.
    """

    kind: BreakKind
    seq: int
    expected: str
    actual: str
    field: str | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a source that have not arrived: `first` to `last`, both included."""

    source: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a verification; `findings` are alarms that break no hash.

    Attributes:
        verified: entries that hold, from the one after `after` on.
        checkpoints: checkpoints that hold.
        after: the entry, itself not verified, behind which the verification began; 0 for the whole log.
        since_checkpoint: the checkpoint that vouches for that entry, where one does.
        witnessed_seq: the entry up to which checkpoints were the witness's; None without a witness.
    """

    verified: int
    head_seq: int
    oldest_seq: int | None
    broken: Break | None = None
    findings: tuple[str, ...] = field(default=())
    checkpoints: int = 0
    after: int = 0
    since_checkpoint: int | None = None
    witnessed_seq: int | None = None
    archived_up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What a list asks for; None and empty mean no restriction. Bounds are those of the public API.

    Attributes:
        since, until: canonical times; `since` included, `until` excluded.
        below: only entries with a lower number. above: only entries with a higher one.
        action: an exact action, or a prefix form ending in `.*`.
        partner_or_none: for a partner that reads its customer's log: entries of no other partner.
        actor_tags: stored tags of the address asked for; an empty tuple matches nothing.
    """

    since: str | None = None
    until: str | None = None
    below: int | None = None
    above: int | None = None
    action: str | None = None
    tenant: str | None = None
    partner: str | None = None
    partner_or_none: str | None = None
    actor_tags: tuple[str, ...] | None = None
    outcome: str | None = None
    source: str | None = None
    text: str | None = None


def action_terms(action: str) -> list[str]:
    """What an action is found by: itself and every prefix form (`a.b.c` → `a.b.c`, `a.*`, `a.b.*`)."""
    words = action.split(".")
    return [action, *(".".join(words[:count]) + ".*" for count in range(1, len(words)))]
