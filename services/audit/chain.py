"""The chain: each entry carries the hash of the one before it, and one writer at a time extends it.

The lease says who writes, the compare-and-swap on the head refuses everybody else, and the unique event id makes
a redelivered event a duplicate. All of a batch commits in one transaction: no fork, no gap and no burnt number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from prometheus_client import Counter

from services.audit.canonical import FORMAT_VERSION, entry_hash
from services.audit.erasing import Erasure, addresses_of, erasures_in, handles_in
from services.audit.facts import REASONS, UNPARSED
from services.audit.models import Fact, Head, Stored, TenantPlace, action_terms
from services.audit.personal import KeyRing, Vault, commit_fact
from services.audit.repository import AuditRepository, HeadMissingError, HeadMovedError
from services.audit.sources import advance, announce
from shared.leases import LeaseLost
from shared.mongo import Document, Transaction, Transactions, is_unavailable

log = structlog.get_logger()

# The state of the chain, not of what shall be chained: nothing else would fare better.
CHAIN_REFUSES = (LeaseLost, HeadMissingError, HeadMovedError)

_entries = Counter("dezky_audit_entries_total", "Entries chained")
_duplicates = Counter("dezky_audit_duplicates_total", "Events that had been chained before")
_unparsed = Counter("dezky_audit_unparsed_total", "Messages chained as raw bytes", ["reason"])
for _reason in REASONS:  # from zero on, so that the first one is an increase
    _unparsed.labels(_reason)


class Tenure(Protocol):
    """The right to write, checked inside the transaction of the write (`shared.leases.Lease`)."""

    async def assert_held(self, tx: Transaction) -> None: ...


class Forgetful(Protocol):
    """Whatever else of the database names a person (`shared.forgetting.AnsweredForgetting`)."""

    async def forget(self, person: str, tx: Transaction, **more: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Appended:
    """What one batch did: the head afterwards, and how many of its facts were new."""

    head: Head
    chained: int
    duplicates: int


def link(head: Head, committed: Iterable[Stored]) -> list[Stored]:
    """Give entries their places after `head`: `seq`, `prevHash` and `hash`, in order."""
    seq, previous = head.seq, head.hash
    linked: list[Stored] = []
    for entry in committed:
        seq += 1
        placed = {
            "v": FORMAT_VERSION,
            "seq": seq,
            **entry,
            "prevHash": previous,
            "actions": action_terms(entry["action"]),
        }
        previous = placed["hash"] = entry_hash(placed)
        linked.append(placed)
    return linked


class ChainWriter:
    """Appends batches of facts. Several may exist; only the holder of the tenure gets anything committed.

    `forgetful` forgets an erased person in the service's outbox and stored answers, and answers the erasure, in the
    transaction that destroys their keys. Without one, where no outbox is beside the chain, the keys alone go.
    """

    def __init__(
        self,
        transactions: Transactions,
        repository: AuditRepository,
        vault: Vault,
        tenure: Tenure,
        forgetful: Forgetful | None = None,
    ) -> None:
        self._transactions = transactions
        self._repository = repository
        self._vault = vault
        self._tenure = tenure
        self._forgetful = forgetful

    async def append(
        self, facts: Sequence[Fact], *, also: Callable[[Transaction], Awaitable[None]] | None = None
    ) -> Appended:
        """Chain what is new of `facts`, in order, and do `also` in the same transaction. Returns after the commit.

        Raises LeaseLost, HeadMovedError, HeadMissingError, BoxUnreadableError (a data key was altered), and the
        driver's errors; then nothing of the batch is stored.
        """

        async def body(tx: Transaction) -> tuple[Appended, list[Document], list[Document]]:
            appended = await self._append(facts, tx)
            if also is not None:
                await also(tx)
            return appended

        done, before, after = await self._transactions.run(body)
        announce(before, after)
        _entries.inc(done.chained)
        _duplicates.inc(done.duplicates)
        return done

    async def _append(self, facts: Sequence[Fact], tx: Transaction) -> tuple[Appended, list[Document], list[Document]]:
        await self._tenure.assert_held(tx)
        fresh = await self._fresh(facts, tx)
        head = await self._repository.head_to_extend(tx)
        if not fresh:
            return Appended(head, 0, len(facts)), [], []
        erasures = erasures_in(fresh)
        ring = await self._ring(fresh, erasures, tx)
        entries = link(head, [commit_fact(fact, ring) for fact in fresh])
        after = Head(entries[-1]["seq"], entries[-1]["hash"])
        await self._repository.extend(head, entries, after, tx)
        await self._repository.save_keys(ring.created, ring.met, tx)
        await self._forget(ring, erasures, tx)
        await self._repository.save_tenants(_newest_places(fresh), tx)
        known = await self._repository.sources(sorted({fact.source for fact in fresh}), tx)
        advanced = advance(known, fresh)
        await self._repository.save_sources(advanced, tx)
        return Appended(after, len(entries), len(facts) - len(fresh)), known, advanced

    async def _forget(self, ring: KeyRing, erasures: Sequence[Erasure], tx: Transaction) -> None:
        destroyed = await self._repository.destroy_keys(ring.destroyed, erasures, ring.forgotten, tx)
        if self._forgetful is None:
            return
        for erasure in erasures:
            await self._forgetful.forget(erasure.person, tx, keys=destroyed.together_with(erasure))

    async def _fresh(self, facts: Sequence[Fact], tx: Transaction) -> list[Fact]:
        by_id: dict[str, Fact] = {}
        for fact in facts:
            by_id.setdefault(fact.id, fact)
        known = await self._repository.known_ids(list(by_id), tx)
        return [fact for fact in by_id.values() if fact.id not in known]

    async def _ring(self, facts: Sequence[Fact], erasures: Sequence[Erasure], tx: Transaction) -> KeyRing:
        owners = {owned.owner for fact in facts for owned in fact.personal if owned.owner is not None}
        digests = {self._vault.address_digest(address) for address in handles_in(facts)}
        gone = await self._addresses_of(erasures, facts, tx)
        rows = await self._repository.keys_for(
            owners | {erasure.owner for erasure in gone}, digests.union(*gone.values()), tx
        )
        erased = await self._repository.erased_addresses(digests, tx) if digests else {}
        ring = KeyRing(self._vault, rows, erased)
        for erasure, theirs in gone.items():
            ring.destroy(erasure.owner, theirs, erasure.at)
        return ring

    async def _addresses_of(
        self, erasures: Sequence[Erasure], facts: Sequence[Fact], tx: Transaction
    ) -> dict[Erasure, set[str]]:
        """Digests of all addresses that the erased are known by, until now or by these facts."""
        return {
            erasure: {
                *await self._repository.addresses_of(erasure.owner, tx),
                *(self._vault.address_digest(address) for address in addresses_of(erasure.owner, facts)),
            }
            for erasure in erasures
        }


async def append_all(
    append: Callable[[Sequence[Fact]], Awaitable[object]], facts: Sequence[Fact], raw: Callable[[int], Fact]
) -> list[Fact]:
    """Chain a batch by `append`; return what was chained in the end.

    One fact must not hold up the others: a batch that the database refuses to store goes one by one, and what it
    refuses alone is chained as raw bytes, as `raw` makes it for a place in the batch. Raises what `append` raises
    while the chain refuses or the database is away.
    """
    try:
        await append(facts)
    except Exception as error:
        if not _is_about_facts(error):
            raise
        log.warning("audit.batch_refused", size=len(facts), error=type(error).__name__)
        return [await _append_alone(append, facts, place, raw) for place in range(len(facts))]
    return list(facts)


async def _append_alone(
    append: Callable[[Sequence[Fact]], Awaitable[object]],
    facts: Sequence[Fact],
    place: int,
    raw: Callable[[int], Fact],
) -> Fact:
    fact = facts[place]
    try:
        await append([fact])
    except Exception as error:
        if not _is_about_facts(error):
            raise
        fact = raw(place)
        await append([fact])
    return fact


def _is_about_facts(error: Exception) -> bool:
    return not isinstance(error, CHAIN_REFUSES) and not is_unavailable(error)


def count_unparsed(facts: Iterable[Fact]) -> None:
    """Make visible what could not be understood, by reason."""
    for fact in facts:
        if fact.fields["action"] == UNPARSED:
            metadata: dict[str, Any] = fact.fields["metadata"]
            _unparsed.labels(metadata["reason"]).inc()


def _newest_places(facts: Iterable[Fact]) -> dict[str, TenantPlace]:
    newest: dict[str, TenantPlace] = {}
    for fact in facts:
        place = fact.tenant
        if place is not None and (place.slug not in newest or newest[place.slug].version < place.version):
            newest[place.slug] = place
    return newest
