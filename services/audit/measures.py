"""How far the log has come, what of it is signed, and which numbers of the sources are missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prometheus_client import Gauge

from services.audit.checkpoints.repository import CheckpointRepository
from services.audit.models import Head
from services.audit.repository import AuditRepository
from services.audit.sources import MISSING, show_missing
from shared.clock import Clock, parse_rfc3339
from shared.measuring import Measure

_head = Gauge("dezky_audit_head_seq", "Number of the newest entry")
_signed = Gauge("dezky_audit_signed_seq", "Number of the newest entry that a checkpoint covers")
_checkpoint = Gauge("dezky_audit_checkpoint_timestamp_seconds", "When the newest checkpoint was made, in Unix time")
_unsigned = Gauge("dezky_audit_unsigned_seconds", "Age of the oldest entry that no checkpoint covers; 0 if none")


def measures(entries: AuditRepository, checkpoints: CheckpointRepository, clock: Clock) -> Sequence[Measure]:
    """Return them over the service's database."""

    async def look_at_chain() -> None:
        head, newest = await entries.head() or Head(), await checkpoints.newest()
        signed = 0 if newest is None else int(newest["headSeq"])
        first = await entries.moment_of(signed + 1) if head.seq > signed else None
        _head.set(head.seq)
        _signed.set(signed)
        _checkpoint.set(0 if newest is None else parse_rfc3339(newest["at"]).timestamp())
        _unsigned.set(0 if first is None else _age(parse_rfc3339(first), clock))

    async def look_at_sources() -> None:
        show_missing(await entries.sources())

    return [
        Measure("chain", look_at_chain, [_head, _signed, _checkpoint, _unsigned]),
        Measure("sources", look_at_sources, [MISSING]),
    ]


def _age(at: datetime, clock: Clock) -> float:
    return max(0.0, (clock.now() - at).total_seconds())
