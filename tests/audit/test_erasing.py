"""`user.erased.v1` in the chain destroys the person's key (docs/audit-format.md, section 4) in the same transaction."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from services.audit.chain import Appended, ChainWriter
from services.audit.erasures import command
from services.audit.facts import interpret
from services.audit.models import Query, Stored
from services.audit.personal import Vault
from services.audit.repository import AuditRepository, HeadMovedError
from services.audit.service import AuditService, Place
from shared.mongo import Database, Mongo, Transaction
from shared.testing import ManualClock
from tests.audit.events import JANE, encode, refused, suspended, tenant_event
from tests.audit.memory import verify

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
STRANGER = "0198c0de-0000-7000-8000-0000000000ff"


@pytest.fixture
def audit(repository: AuditRepository, vault: Vault) -> AuditService:
    return AuditService(repository, vault)


def erased(number: int, person: str = JANE) -> dict[str, Any]:
    """The tenant service says that Jane was erased; an operator asked for it."""
    event = suspended(number, type="user.erased.v1", subject=f"users/{person}")
    del event["data"]["state"], event["data"]["changes"], event["data"]["reason"]
    event["data"] |= {"action": "user.erased", "resource": {"type": "user", "id": person}}
    return event


def stranger(event_id: str = STRANGER) -> dict[str, Any]:
    """A refused caller without an account here, who shows Jane's address."""
    event = refused(1, id=event_id)
    event["data"]["actor"]["email"] = "JANE@nordic.example"
    return event


async def listed(audit: AuditService) -> list[Stored]:
    return list((await audit.page(Query(), None, Place())).items)


async def keys(root_db: Database) -> dict[str, Any]:
    return {row["_id"]: row async for row in root_db["person_keys"].find()}


async def test_an_erasure_destroys_the_persons_key_and_that_of_their_address_and_nobody_elses(
    chain: Chain, audit: AuditService, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain(encode(tenant_event(1), suspended(2), stranger()))
    before = json.dumps(await listed(audit), default=str).lower()
    assert before.count("jane@nordic.example") == 2
    await chain(encode(erased(3)))
    after = json.dumps(await listed(audit), default=str).lower()
    assert "jane@nordic.example" not in after
    assert "203.0.113.7" not in after
    assert "operator@dezky.local" in after
    rows = await keys(root_db)
    gone = [row for row in rows.values() if "wrapped" not in row]
    assert {owner.split(":")[0] for owner in (row["_id"] for row in gone)} == {"person", "address"}
    at = datetime(2026, 11, 22, 12, 0, 3, 3000, tzinfo=UTC)
    assert [{**row, "_id": ""} for row in gone] == [{"_id": "", "erasedAt": at}] * 2
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.findings, verdict.verified) == (None, (), 4)


@pytest.mark.parametrize("apart", [True, False])
async def test_what_comes_after_or_beside_an_erasure_is_committed_to_and_not_boxed(
    apart: bool, chain: Chain, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    late = encode(tenant_event(2), stranger())
    if apart:
        await chain(encode(tenant_event(1)))
        await chain(encode(erased(3)))
        await chain(late[:1])
    else:
        await chain(encode(tenant_event(1)) + late + encode(erased(3)))
    rows = await root_db["entries"].find().sort("_id", 1).to_list()
    owners = {sealed["owner"] for row in rows[1:] for sealed in row["sealed"]}
    assert f"person:{JANE}" not in owners
    live = {owner for owner, row in (await keys(root_db)).items() if "wrapped" in row}
    assert not any(owner.startswith(("address:", "person:" + JANE)) for owner in live)
    assert all(row["actorEmailHmac"] is None for row in rows if row["actorId"] == JANE and row["seq"] > apart)
    assert "wrapped" not in (await keys(root_db))[f"person:{JANE}"]
    assert (await verify(repository, vault)).broken is None


async def test_a_person_whom_the_log_never_met_has_no_key_afterwards_either(chain: Chain, root_db: Database) -> None:
    await chain(encode(erased(1)))
    await chain(encode(tenant_event(2)))
    assert set((await keys(root_db))[f"person:{JANE}"]) == {"_id", "erasedAt"}


async def test_a_second_erasure_keeps_the_first_date(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), erased(2)))
    first = (await keys(root_db))[f"person:{JANE}"]
    await chain(encode(erased(3)))
    await chain(encode(erased(3)))
    assert (await keys(root_db))[f"person:{JANE}"] == first
    assert [row["_id"] async for row in root_db["erasures"].find()] == [JANE]


async def test_an_erasure_that_does_not_commit_destroys_nothing(
    chain: Chain, root_db: Database, writer: ChainWriter
) -> None:
    await chain(encode(tenant_event(1)))
    await root_db["heads"].update_one({"_id": "chain"}, {"$set": {"seq": 0}})
    with pytest.raises(HeadMovedError):
        await writer.append([interpret("user.erased.v1", encode(erased(2))[0], ManualClock().now())])
    assert "wrapped" in (await keys(root_db))[f"person:{JANE}"]
    assert await root_db["erasures"].count_documents({}) == 0


async def test_an_address_that_is_met_late_does_not_return_to_an_erased_row(
    chain: Chain, root_db: Database, repository: AuditRepository, audit_mongo: Mongo
) -> None:
    await chain(encode(tenant_event(1), erased(2)))

    async def late(tx: Transaction) -> None:
        await repository.save_keys([], {f"person:{JANE}": {"a digest"}}, tx)

    await audit_mongo.transactions.run(late)
    assert "addresses" not in (await keys(root_db))[f"person:{JANE}"]


async def test_raw_bytes_that_may_name_the_person_go_with_the_erasure(
    chain: Chain, audit: AuditService, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain([b'{"email": "jane@nordic.example"}'])
    assert (await listed(audit))[0]["metadata"]["raw"] is not None
    await chain(encode(erased(2)))
    assert (await listed(audit))[-1]["metadata"]["raw"] is None
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.findings) == (None, ())


async def test_nobody_but_the_tenant_service_can_have_a_key_destroyed(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), erased(2) | {"source": "partner"}))
    assert "wrapped" in (await keys(root_db))[f"person:{JANE}"]


async def test_a_restored_backup_forgets_again_by_the_kept_list(
    chain: Chain, audit: AuditService, root_db: Database, audit_mongo: Mongo
) -> None:
    await chain(encode(tenant_event(1), stranger()))
    backup = await root_db["person_keys"].find().to_list()
    await chain(encode(erased(2)))
    kept, said = io.StringIO(), io.StringIO()
    assert await command(["list"], audit_mongo, io.StringIO(), kept) == 0
    assert [json.loads(line) for line in kept.getvalue().splitlines()] == [
        {"person": JANE, "at": "2026-11-22T12:00:02.002Z"}
    ]
    await root_db["erasures"].delete_many({})
    await root_db["person_keys"].delete_many({})
    await root_db["person_keys"].insert_many(backup)
    assert "jane@nordic" in json.dumps(await listed(audit), default=str).lower()
    for _ in range(2):
        assert await command(["replay"], audit_mongo, io.StringIO(kept.getvalue()), said) == 0
    assert "jane@nordic" not in json.dumps(await listed(audit), default=str).lower()
    assert [row["_id"] async for row in root_db["erasures"].find()] == [JANE]


async def test_the_list_of_the_erased_holds_nothing_personal(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), erased(2)))
    (row,) = await root_db["erasures"].find().to_list()
    assert set(bson.decode(bson.encode(row))) == {"_id", "at"}
