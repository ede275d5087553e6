"""Sweeps over Authentik's event log: against a log that moves under them, and against the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from services.audit.ingest.authentik import MOST_PAGES, AuthentikEvents, AuthentikPoll, EventPage, Row
from services.audit.ingest.intake import Intake
from services.audit.ingest.models import SourceBusy, SourceError
from services.audit.ingest.repository import IngestRepository
from shared.clock import SystemClock, rfc3339
from shared.leases import Lease
from shared.mongo import Database, Mongo
from shared.testing import ManualClock
from tests.sandbox.authentik.browser import Browser
from tests.sandbox.authentik.process import MEMBER, SEED, StandIn

Chained = Callable[[], Awaitable[list[dict[str, Any]]]]


class Moving:
    """A log in memory that is paged like Authentik's; `between` is called before each page."""

    page_size = 10

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.events: list[Row] = []  # newest first
        self.made = 0
        self.asked: list[int] = []
        self.between: Callable[[], None] = lambda: None

    def happen(self, count: int = 1, *, ago: timedelta = timedelta()) -> None:
        for _ in range(count):
            self.made += 1
            created = rfc3339(self.clock.now() - ago)
            row = Row(f"authentik:{self.made}", created, b'{"action": "login", "created": "%s"}' % created.encode())
            self.events.append(row)
            self.clock.advance(timedelta(seconds=1))
        self.events.sort(key=lambda event: str(event.created), reverse=True)

    def remove_newest(self, count: int) -> set[str]:
        gone = {event.id for event in self.events[:count]}
        self.events = self.events[count:]
        return gone

    async def page(self, number: int) -> EventPage | None:
        self.between()
        self.asked.append(number)
        start = (number - 1) * self.page_size
        rows = self.events[start : start + self.page_size]
        if not rows and number > 1:
            return None
        return EventPage(tuple(rows), len(self.events), start + self.page_size >= len(self.events))


@pytest.fixture
async def lease(audit_mongo: Mongo) -> Lease:
    held = Lease(audit_mongo.db, "ingest-authentik", "tests")
    await held.hold()
    return held


@pytest.fixture
def moving(clock: ManualClock) -> Moving:
    return Moving(clock)


@pytest.fixture
def poll(moving: Moving, intake: Intake, queue: IngestRepository, lease: Lease, clock: ManualClock) -> AuthentikPoll:
    return AuthentikPoll(moving, intake, queue, lease, clock)  # type: ignore[arg-type]


async def queued(root_db: Database) -> list[str]:
    rows = root_db["ingested"].find({}, {"_id": 1}).sort([("batch", 1), ("place", 1)])
    return [row["_id"] async for row in rows]


async def test_what_is_new_is_taken_once_and_oldest_first(
    moving: Moving, poll: AuthentikPoll, root_db: Database
) -> None:
    moving.happen(3)
    assert await poll.once() is False
    moving.happen(2)
    assert await poll.once() is False
    assert await queued(root_db) == [f"authentik:{number}" for number in range(1, 6)]


async def test_a_look_ends_where_the_last_one_began(moving: Moving, poll: AuthentikPoll) -> None:
    moving.happen(100)
    await poll.once()
    moving.clock.advance(timedelta(minutes=6))
    moving.happen(15)
    await poll.once()
    moving.clock.advance(timedelta(minutes=6))
    moving.asked.clear()
    moving.happen(15)
    assert await poll.once() is False
    assert moving.asked == [1, 2, 3, 4]


async def test_an_event_that_commits_late_is_not_missed(moving: Moving, poll: AuthentikPoll, root_db: Database) -> None:
    moving.happen(20)
    await poll.once()
    moving.happen(1, ago=timedelta(minutes=4))
    await poll.once()
    assert f"authentik:{moving.made}" in await queued(root_db)


async def test_a_long_way_down_is_gone_in_steps_and_from_where_it_stopped(
    moving: Moving, poll: AuthentikPoll, root_db: Database
) -> None:
    moving.happen(MOST_PAGES * moving.page_size + 55)
    assert await poll.once() is True
    assert len(await queued(root_db)) == MOST_PAGES * moving.page_size
    moving.happen(5)
    assert await poll.once() is False
    assert moving.asked[MOST_PAGES] == MOST_PAGES + 1
    while await poll.once():
        pass
    assert len(await queued(root_db)) == moving.made


async def test_events_that_are_removed_meanwhile_pull_nothing_past_the_sweep(
    moving: Moving, poll: AuthentikPoll, root_db: Database
) -> None:
    moving.happen(MOST_PAGES * moving.page_size + 55)
    await poll.once()
    gone = moving.remove_newest(25)
    while await poll.once():
        pass
    assert set(await queued(root_db)) == {f"authentik:{number}" for number in range(1, moving.made + 1)}
    assert gone <= set(await queued(root_db))


async def test_a_time_to_come_hides_nothing_that_happens_before_it(
    moving: Moving, poll: AuthentikPoll, root_db: Database
) -> None:
    moving.happen(1, ago=timedelta(days=-3))
    await poll.once()
    moving.happen(3)
    await poll.once()
    assert len(await queued(root_db)) == 4


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_between_two_pages_nothing_is_lost(
    seed: int,
    moving: Moving,
    intake: Intake,
    queue: IngestRepository,
    lease: Lease,
    root_db: Database,
) -> None:
    chance, removed = Random(seed), set[str]()
    moving.happen(120)

    def between() -> None:
        what = chance.random()
        if what < 0.3:
            moving.happen(chance.randint(1, 8), ago=timedelta(seconds=chance.choice([0, 0, 90])))
        elif what < 0.45:
            removed.update(moving.remove_newest(chance.randint(1, 15)))
        elif what < 0.55:
            raise SourceError("it is away")

    moving.between = between
    for _ in range(25):
        fresh = AuthentikPoll(moving, intake, queue, lease, moving.clock, 3)  # type: ignore[arg-type]
        try:
            await fresh.once()
        except SourceError:
            continue
    moving.between = lambda: None
    poll = AuthentikPoll(moving, intake, queue, lease, moving.clock)  # type: ignore[arg-type]
    for _ in range(2):  # the first may only end a sweep that had begun
        while await poll.once():
            pass
    taken = await queued(root_db)
    assert len(taken) == len(set(taken))
    assert {event.id for event in moving.events} <= set(taken)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    made = StandIn(tmp_path_factory.mktemp("authentik"))
    made.start()
    yield made
    made.stop()
    made.close()


@pytest.fixture
async def events(stand_in: StandIn) -> AsyncIterator[AuthentikEvents]:
    made = AuthentikEvents(stand_in.url, SEED["apiToken"], page_size=2)
    yield made
    await made.close()
    assert stand_in.http.delete("/_sandbox/faults").status_code == 204


@pytest.fixture
def real(events: AuthentikEvents, intake: Intake, queue: IngestRepository, lease: Lease) -> AuthentikPoll:
    return AuthentikPoll(events, intake, queue, lease, SystemClock())


async def test_what_happens_at_authentik_is_chained_once(
    stand_in: StandIn, real: AuthentikPoll, chained: Chained
) -> None:
    while await real.once():
        pass
    before = len(await chained())
    assert stand_in.token("dezky-portal", MEMBER).status_code == 200
    browser = Browser(stand_in)
    form = {"username": MEMBER["username"], "password": "wrong-password-of-mia"}
    browser.submit(browser.authorize().headers["location"], **form)
    browser.sign_in(MEMBER)
    for _ in range(2):
        while await real.once():
            pass
    entries = (await chained())[before:]
    expected = {event["pk"] for event in stand_in.results("/events/events/", page_size=str(len(entries)))}
    assert {entry["id"].removeprefix("authentik:") for entry in entries} == expected
    assert {entry["source"] for entry in entries} == {"authentik"}
    assert {entry["actorType"] for entry in entries} == {"external"}
    actions = {entry["action"]: entry["outcome"] for entry in entries}
    assert (actions["authentik.login"], actions["authentik.login_failed"]) == ("success", "failure")


def fault(stand_in: StandIn, effect: str, **more: Any) -> None:
    rule = {"effect": effect, "pathPrefix": "/api/v3/events/", **more}
    assert stand_in.http.post("/_sandbox/faults", json=rule).status_code == 201


async def test_a_page_that_fails_is_asked_for_again_and_nothing_is_taken_twice(
    stand_in: StandIn, real: AuthentikPoll, chained: Chained
) -> None:
    for effect in ("error", "drop", "lose_reply"):
        stand_in.new_user(f"user-of-{effect}@acme.example")
        fault(stand_in, effect, count=1)
        with pytest.raises(SourceError):
            await real.once()
    while await real.once():
        pass
    ids = [entry["id"] for entry in await chained()]
    count = stand_in.api("GET", "/events/events/").json()["pagination"]["count"]
    assert len(ids) == len(set(ids)) == count


async def test_a_request_for_patience_is_passed_on(stand_in: StandIn, real: AuthentikPoll) -> None:
    fault(stand_in, "throttle", retryAfterSeconds=42)
    with pytest.raises(SourceBusy) as busy:
        await real.once()
    assert busy.value.retry_after == 42


async def test_a_refused_token_is_told(stand_in: StandIn) -> None:
    wrong = AuthentikEvents(stand_in.url, "not-the-token")
    with pytest.raises(SourceError, match="AUDIT_AUTHENTIK_TOKEN"):
        await wrong.page(1)
    await wrong.close()


async def test_an_answer_that_is_no_page_is_an_error_and_moves_nothing(stand_in: StandIn) -> None:
    elsewhere = AuthentikEvents(f"{stand_in.url}/-", SEED["apiToken"])
    with pytest.raises(SourceError, match="404"):
        await elsewhere.page(1)
    await elsewhere.close()
