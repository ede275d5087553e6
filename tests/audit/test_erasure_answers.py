"""The log answers an erasure in the transaction that destroys the keys, and forgets the person in its own outbox."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.audit.chain import ChainWriter
from services.audit.erasing import Destroyed, Erasure
from services.audit.facts import interpret
from services.audit.models import Fact
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from shared.contracts.access import AuditAccessDenied
from shared.contracts.envelope import Actor, Resource
from shared.forgetting import AnsweredForgetting
from shared.leases import Lease
from shared.mongo import Database, Document, Mongo, Transaction
from shared.outbox import Outbox
from shared.testing import ManualClock
from tests.audit.events import JANE, encode, suspended, tenant_event, type_of
from tests.audit.test_erasing import erased, stranger

CLOCK = ManualClock()


@pytest.fixture
def outbox(audit_mongo: Mongo) -> Outbox:
    return Outbox(audit_mongo, "audit", CLOCK)


@pytest.fixture
async def writer(audit_mongo: Mongo, repository: AuditRepository, vault: Vault, outbox: Outbox) -> ChainWriter:
    lease = Lease(audit_mongo.db, "audit-chain", "tests")
    assert await lease.acquire()
    forgetful = AnsweredForgetting(audit_mongo, outbox, "audit")
    return ChainWriter(audit_mongo.transactions, repository, vault, lease, forgetful)


def facts(payloads: Sequence[bytes]) -> list[Fact]:
    return [interpret(type_of(payload), payload, CLOCK.now()) for payload in payloads]


async def rows(root_db: Database, event_type: str) -> list[Document]:
    return [row["envelope"]["data"] async for row in root_db["outbox"].find({"type": event_type})]


async def test_the_log_answers_with_what_it_destroyed_and_forgets_whom_it_refused_itself(
    writer: ChainWriter, audit_mongo: Mongo, outbox: Outbox, root_db: Database
) -> None:
    actor = Actor(type="user", id=JANE, email="jane@nordic.example", ip="203.0.113.7", surface="portal")
    operation = Resource(type="operation", id="/api/audit")
    denied = AuditAccessDenied(
        actor=actor, outcome="denied", resource=operation, operation="GET /api/audit", code="insufficient_role"
    )
    await audit_mongo.transactions.run(lambda tx: outbox.add(tx, denied))
    await writer.append(facts(encode(tenant_event(1), suspended(2), stranger())))
    for _ in range(2):  # the second time it was chained already
        await writer.append(facts(encode(erased(3))))
    (answer,) = await rows(root_db, "audit.person_forgotten.v1")
    # Of Jane, and of the stranger who showed her address.
    assert (answer["events"], answer["answers"], answer["keys"]) == (1, 0, 2)
    assert (answer["resource"]["id"], answer["resource"]["name"]) == (JANE, None)
    (refused,) = await rows(root_db, "audit.access_denied.v1")
    assert (refused["actor"]["id"], refused["actor"]["email"], refused["actor"]["ip"]) == (JANE, None, None)


async def test_a_log_that_does_not_commit_has_neither_forgotten_nor_answered(
    writer: ChainWriter, root_db: Database
) -> None:
    await writer.append(facts(encode(tenant_event(1), suspended(2))))
    keys = await root_db["person_keys"].find().to_list()

    async def refuse(_: Transaction) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await writer.append(facts(encode(erased(3))), also=refuse)
    assert await root_db["person_keys"].find().to_list() == keys
    assert await rows(root_db, "audit.person_forgotten.v1") == []


async def test_the_answer_itself_is_chained_and_says_nothing_of_anybody(writer: ChainWriter, root_db: Database) -> None:
    event = suspended(4, type="audit.person_forgotten.v1", source="audit", subject=f"users/{JANE}")
    counts = {"events": 1, "answers": 0, "keys": 2}
    event["data"] = {
        "actor": {"type": "system", "id": "forgetting"},
        "action": "audit.person_forgotten",
        "outcome": "success",
        "resource": {"type": "user", "id": JANE},
        **counts,
    }
    await writer.append(facts(encode(event)))
    entry = await root_db["entries"].find_one({})
    assert entry is not None
    assert (entry["action"], entry["metadata"]["data"], entry["sealed"]) == ("audit.person_forgotten", counts, [])
    assert await root_db["person_keys"].count_documents({}) == await root_db["outbox"].count_documents({}) == 0


def test_of_two_erasures_in_one_batch_each_counts_its_own_key_and_what_both_share() -> None:
    one, two = Erasure("one", CLOCK.now()), Erasure("two", CLOCK.now())
    destroyed = Destroyed(("person:one", "person:two", "address:x"), raw=3)
    assert [destroyed.together_with(erasure) for erasure in (one, two)] == [5, 5]
    assert Destroyed(("person:two",)).together_with(one) == 0
