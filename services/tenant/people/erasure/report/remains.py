"""What remains of somebody who was erased, until when and why: the table of ADR 21, with its times computed.

Every length is read where it is set, so that nobody is told what is no longer so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.tenant.people.erasure.report.models import Backend, Remainder
from shared.outbox import KEPT
from shared.topology import BY_NAME, EVENT_AGE, SESSION_LASTS


def _span(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return f"{hours // 24} days" if hours % 24 == 0 else f"{hours} h"


_OTHERS = "partner, billing, flags, health, audit"
_LASTING: tuple[tuple[str, str, str], ...] = (
    (
        "log, owners `resource:`",
        "what was typed by hand and is no e-mail address (a name as billing contact), or came before the log took "
        "such an address for its owner's; sealed",
        "it is the tenant's word and goes with the tenant's key: the log cannot tell whose it is without opening all",
    ),
    (
        "log, owners `address:`",
        f"what an outside source tells later than {_span(EVENT_AGE)} after the erasure, or under a name that is no "
        "address of theirs; sealed under a key of its own",
        "no digest is kept longer, by which the log could know an erased address again",
    ),
    (
        "log, addresses of machines",
        "an IP that an unknown caller showed; sealed",
        "it is known to belong to nobody; it goes when its owner is erased",
    ),
    ("partner's record", "its contact, if it is them", "the partner typed it, and changes it"),
    (
        "MongoDB's oplog",
        "writes as they were made",
        "it turns over by its size, or by `oplogMinRetentionHours`: nobody can scrub it",
    ),
    ("backups", "everything", "they end by their own retention; after a restore the list of the erased is replayed"),
)
_SESSION_IDLE = max(bucket.ttl for bucket in BY_NAME["gateway"].buckets)


def remains_of(
    erased_at: datetime,
    forgotten_at: datetime | None,
    now: datetime,
    *,
    refused_until: datetime | None,
    backends: Sequence[Backend],
) -> list[Remainder]:
    """Return what is left at ``now``, what goes by itself first.

    Until every service has forgotten (``forgotten_at``), one may still tell an event in which the person stands:
    what is bound to that has no ``until`` yet.
    """
    found = [one for one in _passing(erased_at, forgotten_at, refused_until) if one.until is None or now < one.until]
    found += [Remainder(where, what, None, why) for where, what, why in _LASTING]
    return found + [_kept(backend) for backend in backends if backend.status == "kept"]


def _passing(erased_at: datetime, forgotten_at: datetime | None, refused_until: datetime | None) -> list[Remainder]:
    found = [
        Remainder(
            "gateway's sessions",
            "the session of the person, sealed; nobody is let in by it",
            erased_at + SESSION_LASTS + _SESSION_IDLE,
            f"it ends {_span(_SESSION_IDLE)} after its last use, and is used for {_span(SESSION_LASTS)} at most",
        ),
        Remainder(
            f"outboxes of {_OTHERS}",
            "the actor of an event whose request was under way when that service forgot",
            _after(forgotten_at, KEPT),
            f"an event is kept for {_span(KEPT)} after it was told",
        ),
        Remainder(
            "stream EVENTS",
            "events as they were said",
            _after(forgotten_at, EVENT_AGE),
            f"others catch up from it for {_span(EVENT_AGE)}; nobody can change what a stream holds",
        ),
        Remainder(
            "stream DEAD_LETTERS",
            "their id, and their address where somebody else's event has it as a billing contact",
            _after(forgotten_at, 2 * EVENT_AGE),
            f"an event becomes one while EVENTS has it, and is kept for another {_span(EVENT_AGE)}; "
            "whoever blanks them knows no addresses",
        ),
        Remainder(
            "log, `erased_addresses`",
            "keyed digests of their addresses; the key is not in the database",
            _after(forgotten_at, EVENT_AGE),
            "what is said of them later is sealed for nobody, as long as somebody may still catch up",
        ),
    ]
    if refused_until is not None:
        digest = "digests of their identities"
        why = "an operator's old token must not make an operator again"
        found.insert(0, Remainder("tenant's `people_refused`", digest, refused_until, why))
    return found


def _kept(backend: Backend) -> Remainder:
    whose = "before they came to this platform, or is somebody else's to remove"
    where = backend.backend if backend.tenant is None else f"{backend.backend}, tenant {backend.tenant}"
    return Remainder(where, "an account that was not made here", None, f"it was there {whose}; it opens nothing here")


def _after(moment: datetime | None, span: timedelta) -> datetime | None:
    return None if moment is None else moment + span
