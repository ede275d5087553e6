"""What the audit service tells of its log is what lies in MongoDB, whichever replica is asked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from services.audit.checkpoints.witness import copied
from services.audit.cold.object_store import StoreUnavailable
from services.audit.cold.service import counted
from services.audit.measures import measures
from shared.measuring import Measuring
from shared.mongo import Database
from tests.audit.test_checkpoints import Chain, Desk, desk, numbered

__all__ = ["desk"]


def told(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, name
    return value


def age(desk: Desk, number: int) -> float:
    """How old the event of a number is, as it says itself."""
    (event,) = numbered(number)
    return (desk.clock.now() - datetime.fromisoformat(json.loads(event)["time"])).total_seconds()


async def look(desk: Desk) -> None:
    """Tell everything, as a replica does that has written none of it."""
    await Measuring("audit", measures(desk.entries, desk.repository, desk.clock)).tick()


async def test_what_no_checkpoint_covers_is_told_with_its_age(desk: Desk, chain: Chain) -> None:
    await chain(numbered(1, 2))
    desk.clock.advance(timedelta(minutes=20))
    await look(desk)
    assert (told("dezky_audit_head_seq"), told("dezky_audit_signed_seq")) == (2, 0)
    assert told("dezky_audit_unsigned_seconds") == age(desk, 1)
    made = await desk.make()
    await look(desk)
    assert (told("dezky_audit_signed_seq"), told("dezky_audit_unsigned_seconds")) == (2, 0)
    assert told("dezky_audit_checkpoint_timestamp_seconds") == desk.clock.now().timestamp()
    assert made.row["headSeq"] == 2
    desk.clock.advance(timedelta(minutes=1))
    await chain(numbered(3))
    await look(desk)
    assert told("dezky_audit_unsigned_seconds") == age(desk, 3)


async def test_what_is_missing_of_a_source_is_told_after_a_restart_too(desk: Desk, chain: Chain) -> None:
    await chain(numbered(1, 5))
    REGISTRY._names_to_collectors["dezky_audit_source_missing"].clear()  # type: ignore[attr-defined]
    await look(desk)
    assert told("dezky_audit_source_missing", source="tenant") == 3


async def test_a_witness_that_was_never_reached_is_behind_since_the_first_checkpoint(
    desk: Desk, chain: Chain, root_db: Database
) -> None:
    desk.bucket.away = True
    await chain(numbered(1))
    await desk.worker.tick()
    desk.clock.advance(timedelta(hours=1))
    await desk.worker.tick()
    assert told("dezky_audit_unwitnessed_seconds") == 3_600
    desk.bucket.away = False
    assert await copied(desk.copier)
    await desk.worker.tick()
    assert told("dezky_audit_unwitnessed_seconds") == 0


async def test_a_run_of_the_archiver_that_does_not_end_well_is_counted_by_its_reason() -> None:
    before = REGISTRY.get_sample_value("dezky_audit_archive_failures_total", {"reason": StoreUnavailable.code}) or 0
    with pytest.raises(StoreUnavailable):
        async with counted():
            raise StoreUnavailable("the object store is away")
    assert told("dezky_audit_archive_failures_total", reason=StoreUnavailable.code) == before + 1
