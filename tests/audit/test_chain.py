"""The writer of the chain against a real MongoDB, as the user who may only find and insert entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from bson import Decimal128
from pymongo.errors import OperationFailure

from services.audit.chain import Appended, ChainWriter
from services.audit.facts import interpret
from services.audit.models import Head, Stored
from services.audit.personal import Vault
from services.audit.repository import AuditRepository, HeadMissingError, HeadMovedError
from shared.leases import Lease, LeaseLost
from shared.mongo import Database, Mongo, Transaction
from shared.testing import ManualClock
from tests.audit.events import encode, refused, suspended, tenant_event
from tests.audit.memory import verify

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]


async def test_entries_are_numbered_from_one_and_each_carries_the_hash_before_it(
    chain: Chain, root_db: Database
) -> None:
    await chain(encode(tenant_event(1), tenant_event(2)))
    done = await chain(encode(suspended(3)))
    entries = await root_db["entries"].find().sort("_id", 1).to_list()
    assert [entry["seq"] for entry in entries] == [1, 2, 3]
    assert [entry["prevHash"] for entry in entries] == ["0" * 64, entries[0]["hash"], entries[1]["hash"]]
    assert done == Appended(Head(3, entries[2]["hash"]), 1, 0)


async def test_the_same_event_again_is_a_duplicate_and_burns_no_number(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1)))
    done = await chain(encode(tenant_event(1), tenant_event(2), tenant_event(2)))
    assert (done.head.seq, done.chained, done.duplicates) == (2, 1, 2)
    assert await root_db["entries"].count_documents({}) == 2


async def test_a_verified_chain_holds(chain: Chain, repository: AuditRepository, vault: Vault) -> None:
    await chain(encode(tenant_event(1), suspended(2), refused(1, id="0198c0de-0000-7000-8000-0000000000ff")))
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.verified, verdict.head_seq, verdict.findings) == (None, 3, 3, ())


async def test_an_entry_that_lies_at_no_whole_number_is_named(
    chain: Chain, repository: AuditRepository, vault: Vault, root_db: Database
) -> None:
    await chain(encode(tenant_event(1), tenant_event(2)))
    before = ("seq-gap", 1)
    beyond = ("truncated-tail", 2)
    places = [(-0.5, before), (float("nan"), before), (1.5, ("seq-gap", 2)), (2.5, beyond), (Decimal128("2.5"), beyond)]
    for place, expected in [*places, (float("inf"), beyond)]:
        await root_db["entries"].insert_one({"_id": place, "id": "invented", "seq": 3})
        broken = (await verify(repository, vault)).broken
        assert broken is not None, f"an entry at {place} was not found"
        assert (broken.kind, broken.seq) == expected
        await root_db["entries"].delete_one({"_id": place})


async def test_a_writer_that_lost_the_lease_writes_nothing(
    audit_mongo: Mongo, repository: AuditRepository, vault: Vault, root_db: Database, writer: ChainWriter
) -> None:
    await root_db["leases"].update_one({"_id": "audit-chain"}, {"$set": {"holder": "another"}, "$inc": {"token": 1}})
    facts = [interpret("tenant.updated.v1", encode(tenant_event(1))[0], ManualClock().now())]
    with pytest.raises(LeaseLost):
        await writer.append(facts)
    assert await root_db["entries"].count_documents({}) == 0
    assert await repository.head() is None


class _Unchecked:
    """A tenure that everybody has: what is left is the compare-and-swap."""

    async def assert_held(self, tx: Transaction) -> None:
        return


async def test_writers_without_any_lease_still_make_one_chain(
    audit_mongo: Mongo, repository: AuditRepository, vault: Vault, root_db: Database
) -> None:
    writers = [ChainWriter(audit_mongo.transactions, repository, vault, _Unchecked()) for _ in range(4)]

    async def write(writer: ChainWriter, first: int) -> None:
        for number in range(first, first + 10):
            payload = encode(tenant_event(number))[0]
            await writer.append([interpret("tenant.updated.v1", payload, ManualClock().now())])

    # Every event goes to two writers at once.
    await asyncio.gather(*(write(writer, 1 + 10 * (place % 2)) for place, writer in enumerate(writers)))
    entries = await root_db["entries"].find().sort("_id", 1).to_list()
    assert [entry["seq"] for entry in entries] == list(range(1, 21))
    assert len({entry["id"] for entry in entries}) == 20
    assert (await verify(repository, vault)).broken is None


async def test_a_batch_chained_to_an_old_head_is_refused(
    chain: Chain, audit_mongo: Mongo, repository: AuditRepository, root_db: Database
) -> None:
    await chain(encode(tenant_event(1)))

    async def stale(tx: Transaction) -> None:
        await repository.extend(Head(0, "0" * 64), [{"seq": 9, "id": "x"}], Head(9, "f" * 64), tx)

    with pytest.raises(HeadMovedError):
        await audit_mongo.transactions.run(stale)
    assert await root_db["entries"].count_documents({}) == 1


async def test_nothing_is_chained_while_the_head_is_missing(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1)))
    await root_db["heads"].delete_one({"_id": "chain"})
    with pytest.raises(HeadMissingError):
        await chain(encode(tenant_event(2)))
    assert await root_db["entries"].count_documents({}) == 1


async def test_nothing_is_chained_behind_existing_entries(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), tenant_event(2)))
    first = await root_db["entries"].find_one({"_id": 1})
    assert first is not None
    await root_db["heads"].update_one({"_id": "chain"}, {"$set": {"seq": 1, "hash": first["hash"]}})
    with pytest.raises(HeadMovedError):
        await chain(encode(tenant_event(3)))


@pytest.mark.parametrize("collection", ["entries", "checkpoints"])
async def test_mongodb_refuses_the_service_any_change_of_the_log(
    collection: str, chain: Chain, audit_mongo: Mongo
) -> None:
    await chain(encode(tenant_event(1)))
    target = audit_mongo.db[collection]
    for forbidden in (
        target.update_one({}, {"$set": {"action": "x"}}),
        target.delete_one({}),
        target.drop(),
        target.find_one_and_replace({}, {}),
        target.rename("elsewhere"),
    ):
        with pytest.raises(OperationFailure) as refused_:
            await forbidden
        assert refused_.value.code == 13


async def test_a_gap_in_a_sources_numbers_is_found_and_closes_when_it_is_filled(
    chain: Chain, repository: AuditRepository
) -> None:
    await chain(encode(tenant_event(1), tenant_event(5)))
    (row,) = await repository.sources()
    assert row == {"_id": "tenant", "last": 5, "gaps": [[2, 4]]}
    await chain(encode(tenant_event(3)))
    (row,) = await repository.sources()
    assert row == {"_id": "tenant", "last": 5, "gaps": [[2, 2], [4, 4]]}
    await chain(encode(tenant_event(2), tenant_event(4)))
    (row,) = await repository.sources()
    assert row == {"_id": "tenant", "last": 5, "gaps": []}


async def test_a_tenants_partner_follows_its_newest_version(chain: Chain, repository: AuditRepository) -> None:
    await chain(encode(tenant_event(2, partner="fjord")))
    await chain(encode(tenant_event(1, partner="nordic")))
    place = await repository.tenant_place("acme")
    assert place is not None
    assert (place.partner, place.version) == ("fjord", 2)
    await chain(encode(tenant_event(3, partner=None)))
    place = await repository.tenant_place("acme")
    assert place is not None
    assert place.partner is None


async def test_a_batch_that_fails_leaves_nothing_behind(
    chain: Chain, audit_mongo: Mongo, vault: Vault, root_db: Database
) -> None:
    class Failing(AuditRepository):
        async def save_tenants(self, places: object, tx: Transaction) -> None:
            raise RuntimeError("after the entries, the head and the keys")

    lease = Lease(audit_mongo.db, "audit-chain", "tests")
    assert await lease.acquire()
    broken = ChainWriter(audit_mongo.transactions, Failing(audit_mongo.db), vault, lease)
    with pytest.raises(RuntimeError):
        await broken.append([interpret("tenant.updated.v1", encode(tenant_event(1))[0], ManualClock().now())])
    for collection in ("entries", "heads", "person_keys", "sources"):
        assert await root_db[collection].count_documents({}) == 0
    assert (await chain(encode(tenant_event(1)))).head.seq == 1


async def test_an_edit_by_mongodbs_root_is_named(
    chain: Chain, repository: AuditRepository, vault: Vault, root_db: Database
) -> None:
    await chain(encode(*(tenant_event(number) for number in range(1, 1202))))
    await root_db["entries"].update_one({"seq": 1100}, {"$set": {"metadata.changes.name.after": "Name 1101"}})
    broken = (await verify(repository, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 1100)
    await root_db["entries"].delete_many({"seq": {"$gt": 1000}})
    broken = (await verify(repository, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq, broken.actual) == ("truncated-tail", 1201, "up to 1000")


async def test_entries_appended_during_a_verification_are_no_alarm(
    chain: Chain, audit_mongo: Mongo, vault: Vault
) -> None:
    class Appending(AuditRepository):
        """Appends between the reading of the head and of the entries, and again after the walk."""

        number = 10

        async def walk(self, after: int, up_to: int) -> AsyncIterator[list[Stored]]:
            await self._more()
            async for batch in super().walk(after, up_to):
                yield batch
            await self._more()

        async def _more(self) -> None:
            self.number += 1
            await chain(encode(tenant_event(self.number)))

    await chain(encode(tenant_event(1), tenant_event(2)))
    verdict = await verify(Appending(audit_mongo.db), vault)
    assert (verdict.broken, verdict.verified, verdict.head_seq) == (None, 2, 2)
