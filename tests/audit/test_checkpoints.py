"""Making checkpoints against the real MongoDB under the append-only role: what is signed, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from services.audit.chain import Appended
from services.audit.checkpoints.keys import CheckpointKeys, Ed25519Key, HmacKey, Tenure, complaint
from services.audit.checkpoints.repository import CheckpointRepository, SupersededError
from services.audit.checkpoints.witness import Copier, copied
from services.audit.checkpoints.worker import CheckpointWorker
from services.audit.checkpoints.writer import CheckpointRefused, CheckpointWriter, Commits, Extras, Made
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from shared.leases import Lease, LeaseLost
from shared.mongo import Database, Mongo
from shared.testing import ManualClock
from tests.audit.events import encode, tenant_event
from tests.audit.memory import (
    OTHER_SEED,
    RETENTION_DAYS,
    SECRET,
    SEED,
    MemoryBucket,
    checkpoint,
    copy_of,
    key_of,
    keys,
    root_of,
    signatures,
    signed_part,
    verify,
    witness_in,
)

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]


class Tree:
    """A stored tree, of which only the root matters here; an attacker may have another one stored."""

    def __init__(self, db: Database) -> None:
        self._entries = db["entries"]
        self.altered = False

    async def grow(self, size: int) -> bytes:
        rows = await self._entries.find({"_id": {"$lte": size}}).sort("_id", 1).to_list()
        hashes = [row["hash"] for row in rows]
        return bytes.fromhex(root_of(hashes[1:] if self.altered else hashes))


@dataclass
class Desk:
    """A writer and all that it stands on."""

    repository: CheckpointRepository
    bucket: MemoryBucket
    tree: Tree
    clock: ManualClock
    writer: CheckpointWriter
    copier: Copier
    worker: CheckpointWorker
    entries: AuditRepository

    async def make(self) -> Made:
        made = await self.writer.make("manual")
        assert made is not None
        return made

    def replica(self, mongo: Mongo, holder: str, ring: CheckpointKeys | None = None) -> CheckpointWriter:
        lease = Lease(mongo.db, "audit-checkpoint", holder)
        extras = Extras(self.tree, None, witness_in(self.bucket))
        commits = Commits(mongo.transactions, self.clock)
        return CheckpointWriter(self.entries, self.repository, ring or keys(), extras, lease, commits)


@pytest.fixture
def desk(audit_mongo: Mongo, repository: AuditRepository) -> Desk:
    rows, bucket, clock = CheckpointRepository(audit_mongo.db), MemoryBucket(), ManualClock()
    made = Desk(rows, bucket, Tree(audit_mongo.db), clock, None, None, None, repository)  # type: ignore[arg-type]
    made.writer = made.replica(audit_mongo, "first")
    made.copier = Copier(rows, witness_in(bucket), keys())
    made.worker = CheckpointWorker(repository, rows, made.writer, made.copier, clock)
    return made


def numbered(*numbers: int) -> list[bytes]:
    return encode(*(tenant_event(number) for number in numbers))


async def hashes(db: Database) -> list[str]:
    return [row["hash"] for row in await db["entries"].find({}).sort("_id", 1).to_list()]


async def test_a_checkpoint_is_what_the_document_says(desk: Desk, chain: Chain, root_db: Database) -> None:
    await chain(numbered(1, 2, 3))
    first = (await desk.make()).row
    await chain(numbered(4, 5))
    second = (await desk.make()).row
    digests = await hashes(root_db)
    for number, row, size in ((1, first, 3), (2, second, 5)):
        assert (row["_id"], row["headSeq"], row["headHash"]) == (number, size, digests[size - 1])
        assert row["rootHash"] == root_of(digests[:size])
        assert row["signatures"] == signatures(row)
    assert first["prevCheckpointHash"] == "0" * 64
    assert second["prevCheckpointHash"] == hashlib.sha256(signed_part(first)).hexdigest()
    assert await desk.repository.row(2) == second


async def test_nothing_new_is_no_new_checkpoint(desk: Desk, chain: Chain) -> None:
    assert await desk.writer.make("startup") is None
    await chain(numbered(1))
    made, again = await desk.make(), await desk.make()
    assert (made.is_new, again.is_new, again.row["_id"]) == (True, False, 1)


async def test_two_replicas_make_one_checkpoint_of_one_head(desk: Desk, chain: Chain, audit_mongo: Mongo) -> None:
    await chain(numbered(1, 2))
    other = desk.replica(audit_mongo, "second")
    made = await asyncio.gather(desk.writer.make("manual"), other.make("manual"))
    assert sorted(one.is_new for one in made if one is not None) == [False, True]
    assert await desk.repository.newest_number() == 1


async def test_who_lost_the_lease_writes_nothing(
    desk: Desk, chain: Chain, audit_mongo: Mongo, root_db: Database
) -> None:
    await chain(numbered(1))
    taken = root_db["leases"].update_one

    class Stealing(Tree):
        async def grow(self, size: int) -> bytes:
            await taken({"_id": "audit-checkpoint"}, {"$set": {"holder": "another"}, "$inc": {"token": 1}})
            return await super().grow(size)

    desk.tree = Stealing(audit_mongo.db)
    with pytest.raises(LeaseLost):
        await desk.replica(audit_mongo, "slow").make("manual")
    assert await desk.repository.newest() is None


async def test_a_number_is_written_only_onto_the_one_before(desk: Desk, chain: Chain, audit_mongo: Mongo) -> None:
    await chain(numbered(1))
    row = (await desk.make()).row

    async def insert(tx: Any) -> None:
        await desk.repository.insert(row | {"_id": 3}, 2, tx)

    with pytest.raises(SupersededError):
        await audit_mongo.transactions.run(insert)


async def edit_an_entry(db: Database) -> None:
    await db["entries"].update_one({"_id": 4}, {"$set": {"outcome": "denied"}})


async def cut_the_tail(db: Database) -> None:
    await db["entries"].delete_many({"_id": {"$gt": 2}})
    row = await db["entries"].find_one({"_id": 2})
    assert row is not None
    await db["heads"].update_one({"_id": "chain"}, {"$set": {"seq": 2, "hash": row["hash"]}})


async def remove_the_checkpoint(db: Database) -> None:
    await db["checkpoints"].delete_many({})


async def alter_the_checkpoint(db: Database) -> None:
    await db["checkpoints"].update_one({"_id": 1}, {"$set": {"headHash": "f" * 64}})


async def forge_a_checkpoint(db: Database) -> None:
    row = await db["checkpoints"].find_one({"_id": 1})
    assert row is not None
    forged = row | {"_id": 2, "headSeq": 4}
    await db["checkpoints"].insert_one(forged | {"signatures": signatures(forged, b"x" * 32, OTHER_SEED)})


@pytest.mark.parametrize(
    "attack", [edit_an_entry, cut_the_tail, remove_the_checkpoint, alter_the_checkpoint, forge_a_checkpoint]
)
async def test_nothing_is_signed_that_does_not_continue_what_was_signed(
    attack: Callable[[Database], Awaitable[None]], desk: Desk, chain: Chain, root_db: Database
) -> None:
    await chain(numbered(1, 2, 3))
    await desk.make()
    assert await copied(desk.copier)
    await chain(numbered(4, 5))
    await attack(root_db)
    before = await root_db["checkpoints"].find({}).to_list()
    with pytest.raises(CheckpointRefused):
        await desk.writer.make("manual")
    assert await root_db["checkpoints"].find({}).to_list() == before
    assert list(desk.bucket.objects) == [key_of(1)]


async def sign_the_truth_with_another_key(db: Database) -> None:
    first = await db["checkpoints"].find_one({"_id": 1})
    row = checkpoint(2, (await hashes(db))[:4], first)
    await db["checkpoints"].insert_one(row | {"signatures": signatures(row, b"x" * 32, OTHER_SEED)})


@pytest.mark.parametrize(
    "attack",
    [edit_an_entry, cut_the_tail, alter_the_checkpoint, forge_a_checkpoint, sign_the_truth_with_another_key],
)
async def test_without_the_witness_nothing_is_signed_either(
    attack: Callable[[Database], Awaitable[None]], desk: Desk, chain: Chain, root_db: Database
) -> None:
    desk.bucket.away = True
    await chain(numbered(1, 2, 3))
    await desk.make()
    await chain(numbered(4, 5))
    await attack(root_db)
    with pytest.raises(CheckpointRefused):
        await desk.writer.make("manual")


async def test_a_stored_tree_with_another_root_is_not_signed(desk: Desk, chain: Chain) -> None:
    await chain(numbered(1, 2))
    desk.tree.altered = True
    with pytest.raises(CheckpointRefused, match="tree"):
        await desk.writer.make("manual")


async def test_an_altered_frontier_is_found_out_and_rebuilt(desk: Desk, chain: Chain, root_db: Database) -> None:
    await chain(numbered(1, 2, 3))
    await desk.make()
    await root_db["checkpoint_places"].update_one({"_id": "written"}, {"$set": {"frontier": ["a" * 64, "b" * 64]}})
    await chain(numbered(4))
    assert (await desk.make()).row["rootHash"] == root_of(await hashes(root_db))


async def test_what_was_changed_before_the_last_checkpoint_is_not_signed_again_without_the_frontier(
    desk: Desk, chain: Chain, root_db: Database
) -> None:
    await chain(numbered(1, 2, 3))
    await desk.make()
    await root_db["checkpoint_places"].delete_many({})
    await root_db["entries"].update_one({"_id": 2}, {"$set": {"outcome": "denied"}})
    await chain(numbered(4))
    with pytest.raises(CheckpointRefused, match="event-hash-mismatch at entry 2"):
        await desk.writer.make("manual")


# the witness


async def test_each_checkpoint_is_copied_once_and_retained(desk: Desk, chain: Chain) -> None:
    await chain(numbered(1))
    row = (await desk.make()).row
    assert await copied(desk.copier)
    assert desk.bucket.objects == {key_of(1): copy_of(row)}
    assert desk.bucket.retained == {key_of(1): desk.clock.now() + timedelta(days=RETENTION_DAYS)}
    assert await copied(desk.copier)


async def test_while_the_witness_is_away_checkpoints_are_made_and_copied_later(
    desk: Desk, chain: Chain, vault: Vault
) -> None:
    desk.bucket.away = True
    for number in (1, 2, 3):
        await chain(numbered(number))
        await desk.make()
        assert not await copied(desk.copier)
    verdict = await verify(desk.entries, vault, desk.repository, desk.bucket)
    assert (verdict.broken, verdict.findings) == (None, ("the witness is away: the object store is away",))
    desk.bucket.away, desk.bucket.answers_left = False, 2
    assert not await copied(desk.copier)  # it dies again after two answers
    desk.bucket.away, desk.bucket.answers_left = False, None
    assert await copied(desk.copier)
    assert sorted(desk.bucket.objects) == [key_of(number) for number in (1, 2, 3)]
    verdict = await verify(desk.entries, vault, desk.repository, desk.bucket)
    assert (verdict.broken, verdict.findings, verdict.witnessed_seq) == (None, (), 3)


@pytest.mark.parametrize("remembered", [0, 1, 2, 7])
async def test_the_copier_goes_on_whatever_mongodb_remembers(
    remembered: int, desk: Desk, chain: Chain, root_db: Database
) -> None:
    for number in (1, 2):
        await chain(numbered(number))
        await desk.make()
        await copied(desk.copier)
    await root_db["checkpoint_places"].update_one({"_id": "copied"}, {"$set": {"number": remembered}})
    await chain(numbered(3))
    await desk.make()
    assert await copied(desk.copier)
    assert sorted(desk.bucket.objects) == [key_of(number) for number in (1, 2, 3)]


async def test_junk_is_never_given_to_a_witness_that_cannot_forget_it(
    desk: Desk, chain: Chain, root_db: Database
) -> None:
    await chain(numbered(1))
    await desk.make()
    await copied(desk.copier)
    await forge_a_checkpoint(root_db)
    assert not await copied(desk.copier)
    assert list(desk.bucket.objects) == [key_of(1)]


async def test_another_object_under_a_number_is_an_alarm_and_stays(desk: Desk, chain: Chain) -> None:
    desk.bucket.objects[key_of(1)] = b"{}"
    await chain(numbered(1))
    with pytest.raises(CheckpointRefused, match="witness"):
        await desk.writer.make("manual")
    desk.bucket.away = True
    await desk.make()
    desk.bucket.away = False
    assert not await copied(desk.copier)
    assert desk.bucket.objects == {key_of(1): b"{}"}


# when


async def test_the_worker_makes_one_at_the_start_at_the_threshold_and_at_the_interval(desk: Desk, chain: Chain) -> None:
    await desk.worker.tick()
    assert await desk.repository.newest() is None
    await chain(numbered(1))
    await desk.worker.tick()
    await chain(numbered(*range(2, 102)))
    await desk.worker.tick()
    await chain(numbered(102))
    await desk.worker.tick()
    desk.clock.advance(timedelta(minutes=5))
    await desk.worker.tick()
    desk.clock.advance(timedelta(minutes=5))
    await desk.worker.tick()
    rows = [await desk.repository.row(number) for number in range(1, 5)]
    assert [(row["reason"], row["headSeq"]) for row in rows if row is not None] == [
        ("startup", 1),
        ("threshold", 101),
        ("interval", 102),
    ]
    assert sorted(desk.bucket.objects) == [key_of(number) for number in (1, 2, 3)]


async def test_a_worker_that_is_refused_waits_and_the_log_still_grows(
    desk: Desk, chain: Chain, root_db: Database
) -> None:
    await chain(numbered(1))
    await desk.worker.tick()
    await alter_the_checkpoint(root_db)
    await chain(numbered(*range(2, 103)))
    assert await desk.worker.tick() > 1
    assert await desk.repository.newest_number() == 1
    await chain(numbered(103))


# keys


def rotating(*tenures: Tenure) -> CheckpointKeys:
    return CheckpointKeys([Tenure(HmacKey(SECRET)), *tenures])


OLD, NEW = Ed25519Key.from_seed(SEED), Ed25519Key.from_seed(OTHER_SEED)


async def test_keys_rotate_with_an_overlap_and_a_retired_one_verifies_only_what_it_signed(
    desk: Desk, chain: Chain, audit_mongo: Mongo
) -> None:
    writer = desk.replica(audit_mongo, "rotating", rotating(Tenure(OLD, 1, 3), Tenure(NEW, 3)))
    rows = []
    for number in range(1, 5):
        await chain(numbered(number))
        made = await writer.make("manual")
        assert made is not None
        rows.append(made.row)
    signers = [[item["keyId"] for item in row["signatures"][1:]] for row in rows]
    assert signers == [[OLD.id], [OLD.id], sorted([OLD.id, NEW.id]), [NEW.id]]
    assert rows[2]["signatures"] == signatures(rows[2], SECRET, SEED, OTHER_SEED)
    retired = rotating(Tenure(Ed25519Key(OLD.public), 1, 3), Tenure(NEW, 3))
    assert [complaint(retired, row) for row in rows] == [None] * 4
    assert complaint(retired, rows[3] | {"signatures": signatures(rows[3], SECRET, SEED, OTHER_SEED)}) is not None
    without_overlap = rows[2] | {"signatures": signatures(rows[2], SECRET, OTHER_SEED)}
    assert complaint(retired, without_overlap) == f"none by {OLD.id}"


async def test_a_key_that_should_sign_and_has_no_secret_here_stops_checkpoints(
    desk: Desk, chain: Chain, audit_mongo: Mongo
) -> None:
    await chain(numbered(1))
    writer = desk.replica(audit_mongo, "keyless", rotating(Tenure(Ed25519Key(OLD.public))))
    with pytest.raises(Exception, match="needs the secret"):
        await writer.make("manual")
    assert await desk.repository.newest() is None


def test_a_signature_has_one_text() -> None:
    row = {
        "_id": 1,
        "at": "2026-11-22T12:00:00.000Z",
        "headSeq": 1,
        "headHash": "a" * 64,
        "rootHash": "b" * 64,
        "prevCheckpointHash": "0" * 64,
        "reason": "manual",
        "note": None,
    }
    row["signatures"] = signatures(row)
    assert complaint(keys(), row) is None
    first, *others = signatures(row)
    text = first["signature"]
    assert text.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="
    assert base64.b64decode(other) == base64.b64decode(text)
    row["signatures"] = [first | {"signature": other}, *others]
    assert complaint(keys(), row) is not None
