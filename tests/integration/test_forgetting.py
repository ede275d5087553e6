"""A service that hears ``user.erased.v1`` keeps nothing personal of the person; an error's text is told to nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import bson
import pytest
from pydantic import BaseModel

from infrastructure.local.servers.nats import NatsServer
from shared.bus import Bus, Outgoing
from shared.contracts import Actor, CloudEvent
from shared.contracts.envelope import PersonResource, personal_paths
from shared.contracts.forgetting import BY_SERVICE
from shared.contracts.user import UserErased, UserInviteResent
from shared.forgetting import AnsweredForgetting, Forgetting, hearing_erasures
from shared.ids import new_id
from shared.inbox import INDEXES as INBOX_INDEXES
from shared.inbox import EventConsumer
from shared.mongo import Mongo, Transaction
from shared.outbox import INDEXES as OUTBOX_INDEXES
from shared.outbox import Outbox
from shared.tasks import end_tasks
from shared.topology import PROCESSES, Topology, owner_of
from tests.integration.parts import CLOCK, Streams, commit, connected, envelope, outgoing
from tests.support.waiting import eventually

GONE, STAYS = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
SECRETS = [b"wilhelmina@nordic.example", b"203.0.113.77"]


class Numbered(BaseModel):
    """What the handler expects of an event."""

    contact: int


def acted(person: str, email: str, ip: str) -> UserInviteResent:
    """Somebody has sent a third person's invitation again."""
    actor = Actor(type="user", id=person, email=email, ip=ip, surface="portal")
    return UserInviteResent(actor=actor, resource=PersonResource(type="user", id=new_id()), handoff="none")


async def everything(mongo: Mongo) -> bytes:
    """Every document of the database as BSON."""
    names = await mongo.db.list_collection_names()
    return b"".join([bson.encode(row) for name in names async for row in mongo.db[name].find()])


@pytest.fixture
async def flags_bus(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Bus]:
    async with connected(nats_server, "flags", nats_topology) as made:
        yield made


def erased(topology: Topology, event_id: str | None = None) -> Outgoing:
    """The erasure as it stands in the stream; ``event_id`` says it once more, past JetStream's own filter."""
    event = UserErased(actor=Actor(type="system", id="tests"), resource=PersonResource(type="user", id=GONE), version=9)
    body: dict[str, Any] = {
        **envelope(1),
        "id": event_id or new_id(),
        "type": "user.erased.v1",
        "subject": f"users/{GONE}",
        "data": event.model_dump(mode="json", by_alias=True),
    }
    return Outgoing(topology.subject("user.erased.v1"), new_id(), json.dumps(body).encode(), {})


def test_every_service_with_a_database_of_its_own_hears_of_erasures() -> None:
    hearing = {row.name for row in PROCESSES for spec in row.consumers if "user.erased.v1" in spec.types}
    # The tenant service says it; the log hears everything; the gateway has no database.
    assert hearing == {"partner", "billing", "flags", "health"}


def test_whoever_hears_of_an_erasure_answers_it_under_its_own_word_and_the_tenant_service_hears_all_of_them() -> None:
    # FEATURES 6: every service scrubs, and the log destroys the key.
    assert BY_SERVICE.keys() == {"partner", "billing", "flags", "health", "audit"}
    types = {answer.type for answer in BY_SERVICE.values()}
    assert {name: owner_of(answer.type) for name, answer in BY_SERVICE.items()} == {name: name for name in BY_SERVICE}
    heard = [set(spec.types) for row in PROCESSES for spec in row.consumers if spec.name == "tenant-forgotten"]
    assert heard == [types]
    for answer in BY_SERVICE.values():
        assert personal_paths(answer) == [("actor", "email"), ("actor", "ip"), ("resource", "name")]


async def seeded(mongo: Mongo) -> None:
    """Two people have acted, and an answer is stored about each."""
    await mongo.ensure_indexes({**INBOX_INDEXES, **OUTBOX_INDEXES})
    await commit(mongo, acted(GONE, "wilhelmina@nordic.example", "203.0.113.77"))
    await commit(mongo, acted(STAYS, "bert@nordic.example", "203.0.113.78"))
    await mongo.db["idempotency"].insert_many(
        [
            {"_id": person, "answer": {"body": json.dumps({"userId": person, "email": email}).encode()}}
            for person, email in ((GONE, "wilhelmina@nordic.example"), (STAYS, "bert@nordic.example"))
        ]
    )


async def test_forgetting_and_its_answer_commit_together_or_not_at_all(mongo: Mongo, nats_topology: Topology) -> None:
    await seeded(mongo)
    await mongo.db["inbox"].insert_one({"_id": "so that the collections are all there"})
    before = await everything(mongo)
    forgetting = AnsweredForgetting(mongo, Outbox(mongo, "flags", CLOCK), "flags")
    event = CloudEvent.model_validate_json(erased(nats_topology).payload)

    async def refused(tx: Transaction) -> None:
        await forgetting.handle(event, tx)
        raise LookupError

    with pytest.raises(LookupError):
        await mongo.transactions.run(refused)
    assert await everything(mongo) == before
    await mongo.transactions.run(lambda tx: forgetting.handle(event, tx))
    after = await everything(mongo)
    assert (after.count(b"flag.person_forgotten.v1"), SECRETS[0] in after) == (2, False)  # the row and its envelope


async def test_of_several_who_look_at_once_each_finding_is_counted_once(mongo: Mongo, nats_topology: Topology) -> None:
    await seeded(mongo)
    alone = Forgetting(mongo)
    names = await mongo.db["outbox"].count_documents({"envelope.data.actor.id": GONE})
    looks = [(alone.forget_in_events(GONE), alone.forget_in_answers([GONE])) for _ in range(8)]
    events = await asyncio.gather(*(first for first, _ in looks))
    answers = await asyncio.gather(*(second for _, second in looks))
    assert (sum(events), sum(found[GONE] for found in answers)) == (names, 1)
    assert names > 0


async def test_the_events_that_an_erased_person_caused_lose_them_and_keep_everybody_else(
    mongo: Mongo, bus: Bus, flags_bus: Bus, streams: Streams, nats_topology: Topology
) -> None:
    await seeded(mongo)
    before = await everything(mongo)
    assert all(secret in before for secret in SECRETS)
    outbox, event_id = Outbox(mongo, "flags", CLOCK), new_id()
    (hear,) = hearing_erasures(flags_bus, mongo, outbox, CLOCK, "flags")
    hearing = asyncio.create_task(hear())
    try:
        await bus.publish([erased(nats_topology, event_id)])
        await bus.publish([erased(nats_topology, event_id)])

        async def heard() -> bool:
            return await mongo.db["inbox"].count_documents({}) == 1 and not await streams.unacknowledged(
                "flags-erasures"
            )

        await eventually(heard)
    finally:
        await end_tasks([hearing])
    assert len(await streams.events()) == 2
    told = await mongo.db["outbox"].find({"type": "flag.person_forgotten.v1"}).to_list()
    (answer,) = [row["envelope"] for row in told]
    assert (answer["source"], answer["subject"]) == ("flags", f"users/{GONE}")
    data = answer["data"]
    assert (data["events"], data["answers"], data["resource"]["id"]) == (1, 1, GONE)
    assert [data["resource"]["name"], data["actor"]["email"], data["actor"]["ip"]] == [None, None, None]
    after = await everything(mongo)
    assert [secret for secret in SECRETS if secret in after] == []
    assert after.count(b"bert@nordic.example") == 2
    row = await mongo.db["outbox"].find_one({"envelope.data.actor.id": GONE})
    assert row is not None
    assert row["pending"] is True  # still told, without them


async def test_the_text_of_an_error_reaches_neither_log_nor_database_nor_the_headers_of_a_dead_letter(
    mongo: Mongo, bus: Bus, audit_bus: Bus, streams: Streams, nats_topology: Topology, logged: list[Any]
) -> None:
    await mongo.ensure_indexes(INBOX_INDEXES)
    quoted = "wilhelmina@nordic.example"

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        if event.data["number"] == 1:
            Numbered.model_validate({"contact": quoted})
        raise LookupError(quoted)

    # Their fifth failure is the next one, so that nobody waits for it.
    events = [envelope(1), envelope(2)]
    keys = [{"consumer": "audit-chain", "generation": 1, "event": event["id"]} for event in events]
    await mongo.db["consumer_failures"].insert_many([{"_id": key, "count": 4} for key in keys])
    running = asyncio.create_task(EventConsumer(audit_bus, "audit-chain", mongo, handle, CLOCK).run())
    try:
        await bus.publish([outgoing(nats_topology, event) for event in events])

        async def buried() -> bool:
            return len(await streams.dead()) == 2

        await eventually(buried)
    finally:
        await end_tasks([running])
    reasons = [headers["Dezky-Reason"] for _, headers in await streams.dead()]
    assert sorted(reason.split()[0] for reason in reasons) == ["LookupError", "ValidationError"]
    assert "int_parsing" in " ".join(reasons)
    assert quoted not in repr(reasons)
    assert quoted not in repr(logged)
    assert quoted.encode() not in await everything(mongo)
    assert {entry["event"] for entry in logged} >= {"consumer.event_failed", "consumer.event_buried"}
