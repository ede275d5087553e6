"""A dead letter that names a person who was erased is replaced by one that does not, whenever it was buried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infrastructure.local.servers.nats import NatsServer
from services.health.dead_letters import DeadLetters, Letter
from services.health.forgetting import DeadLetterWalk, without
from services.health.repository import INDEXES, ErasureRepository
from shared.bus import Bus, BusUnavailable, Outgoing
from shared.clock import parse_rfc3339
from shared.forgetting import hearing_erasures
from shared.ids import new_id
from shared.inbox import INDEXES as INBOX_INDEXES
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.stored import StoredMeanwhile
from shared.tasks import end_tasks
from shared.testing import ManualClock
from shared.topology import Topology
from tests.integration.parts import Streams, administrator, connected, envelope
from tests.support.waiting import eventually

GONE, STAYS = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
EMAIL, NAME, IP = "wilhelmina@nordic.example", "Wilhelmina", "203.0.113.77"
TYPE = "tenant.updated.v1"
AT = "2026-11-22T12:00:00.000Z"


def acted(person: str, email: str = EMAIL, **data: Any) -> dict[str, Any]:
    """Somebody gave their tenant another billing contact."""
    actor = {"type": "user", "id": person, "email": email, "ip": IP, "surface": "portal"}
    billing = {"company": "Acme", "address": "Musterweg 1"}
    state = {
        **{"id": "1", "slug": "acme", "name": "Acme", "plan": "business", "cycle": "month", "currency": "EUR"},
        **{"seats": 5, "domains": [], "partner": "nordic", "status": "active", "suspendedReason": None},
        **{"createdAt": AT, "updatedAt": AT, "version": 2, "billing": {**billing, "contact": "bert@nordic.example"}},
    }
    changes = {"billing": {"before": None, "after": {**billing, "contact": "bert@nordic.example"}}}
    resource = {"type": "tenant", "id": "1", "name": "Acme", "tenantSlug": "acme", "partnerSlug": "nordic"}
    base = {"action": "tenant.updated", "outcome": "success", "version": 2}
    return envelope(
        1, type=TYPE, data={**base, "actor": actor, "resource": resource, "state": state, "changes": changes, **data}
    )


def resent(by: str, to: str) -> dict[str, Any]:
    actor = {"type": "user", "id": by, "email": "bert@nordic.example", "ip": "203.0.113.78"}
    data = {"actor": actor, "resource": {"type": "user", "id": to, "name": NAME}, "handoff": "none"}
    return envelope(2, type="user.invite_resent.v1", subject=f"users/{to}", data=data)


def raw(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def test_an_event_without_the_person_says_all_the_rest() -> None:
    event = acted(GONE)
    left = json.loads(without(raw(event), [STAYS, GONE]) or b"")
    expected = json.loads(raw(event))
    expected["data"]["actor"] |= {"email": None, "ip": None}
    assert left == expected
    assert without(raw(left), [GONE]) == raw(left)
    left = json.loads(without(raw(resent(STAYS, GONE)), [GONE]) or b"")
    assert (left["data"]["resource"]["name"], left["data"]["actor"]["email"]) == (None, "bert@nordic.example")


def test_their_address_goes_from_the_contact_too_and_so_does_what_no_contract_knows() -> None:
    event = acted(GONE, email="Bert@nordic.example", nickname=NAME)
    event["data"]["state"]["billing"]["nickname"] = NAME
    left = without(raw(event), [GONE]) or b""
    assert b"bert@nordic" not in left.lower()
    assert NAME.encode() not in left
    assert json.loads(left)["data"]["state"]["billing"] == {
        "contact": None,
        "company": "Acme",
        "address": "Musterweg 1",
    }
    assert without(left, [GONE]) == left


@pytest.mark.parametrize(
    ("payload", "goes"),
    [
        (f"not JSON, but {GONE}".encode(), True),
        (raw(envelope(1, type="tenant.unheard_of.v1", data={"who": GONE})), True),
        (raw(envelope(1, type=TYPE, data={"actor": {"type": "user", "id": GONE}})), True),  # breaks its contract
        (raw({"data": [GONE]}), True),
        (f"not JSON, but {STAYS}".encode(), False),
        (raw(acted(STAYS)), False),
        (raw(acted(STAYS, nickname=GONE)), False),  # an id is nothing personal
    ],
)
def test_what_is_not_understood_goes_whole_if_it_holds_the_id(payload: bytes, goes: bool) -> None:
    assert without(payload, [GONE]) == (None if goes else payload)


class Walking:
    """A walk with its database, and the stream as its administrator sees it."""

    def __init__(self, mongo: Mongo, bus: Bus, streams: Streams, topology: Topology) -> None:
        self.mongo, self.bus, self.streams, self.topology = mongo, bus, streams, topology
        self.clock = ManualClock()

    def walk(self, letters: DeadLetters | None = None) -> DeadLetterWalk:
        people = ErasureRepository(self.mongo)
        return DeadLetterWalk(
            letters or DeadLetters(self.bus), people, Lease(self.mongo.db, "dead-letters", "tests"), self.clock
        )

    async def erased(self, person: str = GONE, at: str = AT) -> None:
        """What the walk records of an erasure."""
        people = ErasureRepository(self.mongo)
        await self.mongo.transactions.run(lambda tx: people.add(person, parse_rfc3339(at), tx))

    async def bury(self, payload: bytes, consumer: str = "partner-tenants", type_: str = TYPE) -> str:
        """Bury an event as the consumers do; return its subject."""
        subject = self.topology.dead_subject(consumer, type_)
        headers = {"Dezky-Consumer": consumer, "Dezky-Reason": "KeyError in handle, line 7"}
        await self.bus.publish([Outgoing(subject, new_id(), payload, headers)])
        return subject

    async def buried(self) -> list[tuple[str, bytes, dict[str, str]]]:
        found, letter = [], await DeadLetters(self.bus).after(0)
        while letter is not None:
            said = {name: value for name, value in letter.headers.items() if not name.startswith("Nats-")}
            found.append((letter.subject.removeprefix(self.topology.dead_subject("", "")[:-1]), letter.payload, said))
            letter = await DeadLetters(self.bus).after(letter.seq)
        return found

    async def forget_message_ids(self) -> None:
        """Let JetStream's own memory of message ids end, as it does ten minutes after a crash."""
        (config,) = (c for c in self.topology.stream_configs() if c["name"] == self.topology.stream_dead)
        body = json.dumps({**config, "duplicate_window": 100_000_000}).encode()
        reply = await self.streams.js._nc.request(f"$JS.API.STREAM.UPDATE.{config['name']}", body)
        assert b'"error"' not in reply.data


@pytest.fixture
async def walking(mongo: Mongo, nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Walking]:
    await mongo.ensure_indexes({**INDEXES, **INBOX_INDEXES})
    async with (
        connected(nats_server, "health", nats_topology) as bus,
        administrator(nats_server, nats_topology) as streams,
    ):
        yield Walking(mongo, bus, streams, nats_topology)


async def test_who_is_erased_is_taken_out_of_the_dead_letters_and_off_the_disk(
    walking: Walking, nats_server: NatsServer
) -> None:
    await walking.bury(raw(acted(GONE)))
    await walking.bury(raw(resent(STAYS, GONE)), "billing-tenants", "user.invite_resent.v1")
    await walking.bury(f"{NAME} is {GONE}".encode())
    await walking.bury(raw(acted(STAYS, "bert@nordic.example")))
    await walking.bury(b"no event, and nobody")
    before = await walking.buried()
    walk = walking.walk()
    erased = envelope(
        9,
        type="user.erased.v1",
        subject=f"users/{GONE}",
        data={"actor": {"type": "system", "id": "tests"}, "resource": {"type": "user", "id": GONE}},
    )
    outbox = Outbox(walking.mongo, "health", walking.clock)
    (hearing,) = hearing_erasures(walking.bus, walking.mongo, outbox, walking.clock, "health", also=walk.heard)
    tasks = [asyncio.create_task(hearing()), asyncio.create_task(walk.run())]
    try:
        await walking.bus.publish([Outgoing(walking.topology.subject("user.erased.v1"), new_id(), raw(erased), {})])

        async def gone() -> bool:
            return not any(
                EMAIL.encode() in payload or NAME.encode() in payload for _, payload, _ in await walking.buried()
            )

        await eventually(gone)
    finally:
        await end_tasks(tasks)
    after = await walking.buried()
    assert after[:2] == [before[3], before[4]]
    assert [(subject, said) for subject, _, said in after[2:]] == [(s, said) for s, _, said in before[:2]]
    assert json.loads(after[2][1])["data"]["actor"] == {**acted(GONE)["data"]["actor"], "email": None, "ip": None}
    assert json.loads(after[3][1])["data"]["resource"]["name"] is None

    async def overwritten() -> bool:
        return not any(secret.encode() in written(nats_server) for secret in (EMAIL, NAME))

    await eventually(overwritten)
    assert b"no event, and nobody" in written(nats_server)


def written(server: NatsServer) -> bytes:
    """Every byte that the server keeps of its streams."""
    files = [path for path in Path(server.directory).rglob("*.blk") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


class Crash(Exception):
    pass


class Fragile(DeadLetters):
    """Dies before the call that it is told."""

    def __init__(self, bus: Bus, before: str) -> None:
        super().__init__(bus)
        self._before = before

    async def replace(self, letter: Letter, payload: bytes, newest: int) -> None:
        if self._before == "replace":
            raise Crash
        await super().replace(letter, payload, newest)

    async def remove(self, seq: int) -> None:
        if self._before == "remove":
            raise Crash
        await super().remove(seq)


async def test_a_crash_at_any_step_neither_loses_a_letter_nor_doubles_it(walking: Walking) -> None:
    await walking.forget_message_ids()
    await walking.erased()
    subject = await walking.bury(raw(acted(GONE)))
    for before in ("replace", "remove", "remove"):
        with pytest.raises(Crash):
            await walking.walk(Fragile(walking.bus, before)).step()
        await walking.bury(b"another one of the same subject")
        await accepts_again(walking, subject)
    assert sum(EMAIL.encode() in payload for _, payload, _ in await walking.buried()) == 1
    await walking.walk().step()
    left = [payload for _, payload, _ in await walking.buried() if GONE.encode() in payload]
    assert [json.loads(payload)["data"]["actor"]["email"] for payload in left] == [None]
    assert await walking.mongo.db["dead_letter_copies"].count_documents({}) == 0


async def accepts_again(walking: Walking, subject: str) -> None:
    """Wait until the stream has forgotten a message id that it has just seen."""
    probe = f"probe-{new_id()}"
    await walking.streams.js.publish(subject, b"probe", headers={"Nats-Msg-Id": probe})

    async def forgotten() -> bool:
        told = await walking.streams.js.publish(subject, b"probe", headers={"Nats-Msg-Id": probe})
        return not told.duplicate

    await eventually(forgotten)


class Slow(DeadLetters):
    """A replica that sleeps through its lease just before it stores a copy."""

    def __init__(self, bus: Bus, meanwhile: DeadLetterWalk) -> None:
        super().__init__(bus)
        self._meanwhile = meanwhile

    async def replace(self, letter: Letter, payload: bytes, newest: int) -> None:
        await self._meanwhile.step()
        await super().replace(letter, payload, newest)


async def test_a_replica_that_lost_its_lease_without_knowing_stores_no_second_copy(walking: Walking) -> None:
    await walking.forget_message_ids()
    await walking.erased()
    subject = await walking.bury(raw(acted(GONE)))

    class Later(DeadLetterWalk):
        async def step(self) -> bool:
            more = await super().step()
            await accepts_again(walking, subject)
            return more

    other = Later(
        DeadLetters(walking.bus), ErasureRepository(walking.mongo), Lease(walking.mongo.db, "l", "t"), walking.clock
    )
    with pytest.raises(StoredMeanwhile):
        await walking.walk(Slow(walking.bus, other)).step()
    await walking.walk().step()
    assert sum(GONE.encode() in payload for _, payload, _ in await walking.buried()) == 1


class Counting(DeadLetters):
    """Counts what is asked of the stream."""

    asked = 0

    async def _ask(self, verb: str, question: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        return await super()._ask(verb, question)


async def test_what_is_buried_later_is_looked_at_once_and_until_the_events_are_forgotten(walking: Walking) -> None:
    for _ in range(3):
        await walking.bury(raw(acted(STAYS)))
    letters = Counting(walking.bus)
    walk = walking.walk(letters)
    assert await walk.step() is False
    assert letters.asked == 0  # nobody is looked for
    await walking.erased()
    await walk.step()
    letters.asked = 0
    await walk.step()
    assert letters.asked == 1  # is there anything new?
    await walking.bury(raw(acted(GONE)))
    await walk.step()
    assert not any(EMAIL.encode() in payload and GONE.encode() in payload for _, payload, _ in await walking.buried())
    people = walking.mongo.db["erased_people"]
    walking.clock.advance(parse_rfc3339(AT) + timedelta(days=31) - walking.clock.now())
    await walk.step()
    assert await people.count_documents({}) == 1  # an event of the thirtieth day may just be dying
    walking.clock.advance(timedelta(seconds=1))
    await walk.step()
    assert await people.count_documents({}) == 0


async def test_a_stream_that_was_made_anew_is_looked_at_from_its_beginning(walking: Walking) -> None:
    await walking.erased()
    await walking.mongo.db["erased_people"].update_one({}, {"$set": {"after": 4_000}})
    await walking.bury(raw(acted(GONE)))
    await walking.walk().step()
    assert not any(EMAIL.encode() in payload for _, payload, _ in await walking.buried())


async def test_a_letter_that_cannot_be_deleted_is_an_outage_and_one_that_is_gone_is_none(walking: Walking) -> None:
    await walking.bury(b"anything")
    letters = DeadLetters(walking.bus)
    await letters.remove(1)
    await letters.remove(1)
    await letters.remove(77)
    await walking.bus.close()
    with pytest.raises(BusUnavailable):
        await letters.remove(1)
