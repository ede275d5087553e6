"""What is said of a source, by what is stored of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.audit.ingest.intake import Intake
from services.audit.ingest.models import Arrival, Record, SourceBusy, SourceError, Standing
from services.audit.ingest.parts import SWITCHES
from services.audit.ingest.polling import Polling
from services.audit.ingest.repository import IngestRepository
from services.audit.ingest.standing import Expected, Standings
from shared.leases import Lease
from shared.mongo import Mongo
from shared.testing import ManualClock

DAY = timedelta(days=1)


@pytest.fixture
def standings(queue: IngestRepository, clock: ManualClock) -> Standings:
    expected = {"ocis": Expected(DAY, polled=True), "stalwart": Expected(DAY, polled=False)}
    return Standings(queue, expected, SWITCHES, clock)  # type: ignore[arg-type]


async def of(standings: Standings, source: str) -> Standing:
    (found,) = [standing for standing in await standings.all() if standing.source == source]
    return found


def record(clock: ManualClock) -> Record:
    return Record("ocis:1", "ocis", b"{}", clock.now())


async def test_a_source_that_was_never_heard_of_is_silent_after_its_time(
    standings: Standings, queue: IngestRepository, clock: ManualClock
) -> None:
    await queue.watch(["stalwart"], clock.now())
    assert (await of(standings, "stalwart")).state == "ok"
    clock.advance(timedelta(hours=26))
    await queue.watch(["stalwart"], clock.now())
    found = await of(standings, "stalwart")
    assert (found.state, found.reason) == ("silent", "nothing has arrived for 26 hours")


async def test_a_source_that_is_not_read_to_its_end_is_late(
    standings: Standings, intake: Intake, clock: ManualClock
) -> None:
    await intake.take(Arrival("ocis", position={"offset": 1, "generation": 0}))
    clock.advance(timedelta(minutes=1))
    assert (await of(standings, "ocis")).state == "ok"
    clock.advance(timedelta(minutes=2))
    await intake.take(Arrival("ocis", position={"offset": 9, "generation": 0}, caught_up=False))
    found = await of(standings, "ocis")
    assert (found.state, found.lag_seconds, found.last_position) == ("late", 180, "byte 9 of file 1")


async def test_what_waits_to_be_chained_makes_its_source_late(
    standings: Standings, intake: Intake, clock: ManualClock
) -> None:
    await intake.take(Arrival("ocis", [record(clock)]))
    clock.advance(timedelta(minutes=5))
    await intake.take(Arrival("ocis"))
    found = await of(standings, "ocis")
    assert (found.state, found.waiting, found.lag_seconds) == ("late", 1, 300)
    assert found.reason == "what has arrived waits to be chained"


async def test_a_failure_is_shown_until_the_source_can_be_read_again(
    standings: Standings, intake: Intake, queue: IngestRepository, clock: ManualClock
) -> None:
    await queue.fail("ocis", "it answered 500", clock.now())
    found = await of(standings, "ocis")
    assert (found.state, found.reason) == ("error", "it answered 500")
    await intake.take(Arrival("ocis"))
    assert (await of(standings, "ocis")).state == "ok"


class Failing:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def once(self) -> bool:
        if self.error is not None:
            raise self.error
        return True


@pytest.mark.parametrize(
    ("error", "pause", "reason"),
    [
        (None, 0.0, None),
        (SourceError("it answered 500"), 30.0, "it answered 500"),
        (SourceBusy("it asks for patience", 42), 42.0, "it asks for patience"),
        (ValueError("secret"), 30.0, "an unexpected error: see the log"),
    ],
)
async def test_the_next_look_waits_as_the_last_one_ended(
    error: Any, pause: float, reason: str | None, audit_mongo: Mongo, queue: IngestRepository, clock: ManualClock
) -> None:
    lease = Lease(audit_mongo.db, "ingest-ocis", "tests")
    polling = Polling("ocis", Failing(error), lease, queue, clock, 5.0)
    assert await polling.once() == pause
    rows = await queue.sources()
    assert (rows["ocis"]["failure"]["reason"] if rows else None) == reason
