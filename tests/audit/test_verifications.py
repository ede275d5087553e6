"""Verification as a job, since a checkpoint, and from a shell; against the real MongoDB."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from services.audit import verify as command
from services.audit.chain import Appended
from services.audit.checkpoints.repository import CheckpointRepository
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.verifications.places import Scope, Seals
from services.audit.verifications.repository import VerificationRepository
from services.audit.verifications.service import Anchors, Job, VerificationService, Verifier
from services.audit.verifications.sources import Checkpoints
from services.audit.verifications.verification import Verification
from services.audit.verifications.worker import ALTERED, Desk, VerificationWorker
from shared.errors import Invalid
from shared.leases import Lease, LeaseLost
from shared.mongo import Database, Mongo
from shared.testing import ManualClock
from tests.audit.events import encode, tenant_event
from tests.audit.memory import SECRET, MemoryBucket, bucket_of, checkpoint, keys, witness_in

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
COUNT = 1_200


class World:
    """The parts of verification over one database."""

    def __init__(self, mongo: Mongo, repository: AuditRepository, vault: Vault) -> None:
        self.mongo, self.entries, self.vault = mongo, repository, vault
        self.rows, self.jobs = CheckpointRepository(mongo.db), VerificationRepository(mongo.db)
        self.seals, self.bucket = Seals(SECRET), MemoryBucket()
        self.verifier = self.verifies(trust_mongo=True)
        self.service = VerificationService(self.verifier, self.jobs, mongo.transactions, self.seals, ManualClock())

    def verifies(self, *, trust_mongo: bool) -> Verifier:
        stored = self.rows if trust_mongo else None
        return Verifier(
            self.entries,
            self.entries,
            lambda: Checkpoints(keys(), stored, witness_in(self.bucket)),
            self.vault,
            Anchors(self.rows, self.seals),
        )

    def worker(self, holder: str, verifier: Verifier | None = None) -> VerificationWorker:
        desk = Desk(self.jobs, self.mongo.transactions, self.seals, ManualClock())
        lease = Lease(self.mongo.db, "audit-verification", holder)
        self.lease = lease
        return VerificationWorker(verifier or self.verifier, desk, lease, save_seconds=0)

    async def done(self, job: Job) -> Job:
        worker = self.worker("tests")
        assert await self.lease.acquire()
        while await worker.turn():
            pass
        return await self.service.read(job.id)


@pytest.fixture
async def world(
    audit_mongo: Mongo, repository: AuditRepository, vault: Vault, chain: Chain, root_db: Database
) -> World:
    """1,200 entries, and witnessed checkpoints of 500 and of 1,000."""
    made = World(audit_mongo, repository, vault)
    for start in range(1, COUNT + 1, 400):
        await chain(encode(*(tenant_event(number) for number in range(start, start + 400))))
    hashes = [row["hash"] for row in await root_db["entries"].find({}, {"hash": 1}).sort("_id", 1).to_list()]
    first = checkpoint(1, hashes[:500], None)
    second = checkpoint(2, hashes[:1_000], first)
    await root_db["checkpoints"].insert_many([first, second])
    made.bucket.objects = bucket_of([first, second]).objects
    return made


class DiesAfterBatches(Verifier):
    """Stands for a process that is killed in the middle: its verification stops after a number of batches."""

    batches = 2

    async def begun(self, scope: Scope) -> Verification:
        return self._mortal(await super().begun(scope))

    def new(self) -> Verification:
        return self._mortal(super().new())

    def _mortal(self, verification: Verification) -> Verification:
        steps = verification.steps

        async def some() -> Any:
            left = self.batches
            async for verified in steps():
                yield verified
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt

        verification.steps = some  # type: ignore[method-assign]
        return verification


async def killed(world: World, job: Job) -> None:
    """Run a job in a process that ends after two batches of 500."""
    verifier = DiesAfterBatches(
        world.entries,
        world.entries,
        lambda: Checkpoints(keys(), world.rows, witness_in(world.bucket)),
        world.vault,
        Anchors(world.rows, world.seals),
    )
    worker = world.worker("killed", verifier)
    assert await world.lease.acquire()
    with pytest.raises(KeyboardInterrupt):
        await worker.turn()
    await world.lease.release()
    assert (await world.service.read(job.id)).state == "open"


async def test_a_job_verifies_the_whole_log_and_keeps_its_verdict(world: World) -> None:
    job = await world.service.request(Scope())
    assert (job.state, job.verified) == ("open", 0)
    done = await world.done(job)
    assert (done.state, done.verified, done.of) == ("done", COUNT, COUNT)
    assert done.verdict is not None
    assert (done.verdict.broken, done.verdict.checkpoints, done.verdict.witnessed_seq) == (None, 2, 1_000)
    assert done.verdict.findings == ()


async def test_a_job_goes_on_where_a_killed_process_left_it(world: World, root_db: Database) -> None:
    job = await world.service.request(Scope())
    await killed(world, job)
    seen = await world.service.read(job.id)
    assert (seen.verified, seen.of) == (1_000, COUNT)
    # It is not begun anew: what is changed before the place is not looked at by this job.
    await root_db["entries"].update_one({"_id": 3}, {"$set": {"outcome": "denied"}})
    done = await world.done(job)
    assert done.verdict is not None
    assert (done.verdict.broken, done.verdict.verified, done.verdict.checkpoints) == (None, COUNT, 2)
    broken = (await world.verifier.whole()).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 3)


@pytest.mark.parametrize("change", [{"saved.place.at.seq": 1_100}, {"saved.seal": "0" * 64}], ids=str)
async def test_a_place_that_was_altered_counts_for_nothing(
    change: dict[str, Any], world: World, root_db: Database
) -> None:
    job = await world.service.request(Scope())
    await killed(world, job)
    await root_db["verifications"].update_one({"_id": job.id}, {"$set": change})
    await root_db["entries"].update_one({"_id": 3}, {"$set": {"outcome": "denied"}})
    done = await world.done(job)
    assert done.verdict is not None
    assert done.verdict.broken is not None
    assert (done.verdict.broken.kind, done.verdict.broken.seq) == ("event-hash-mismatch", 3)
    assert ALTERED in done.verdict.findings


async def test_an_entry_that_changed_at_the_place_makes_a_job_begin_anew(world: World, root_db: Database) -> None:
    job = await world.service.request(Scope())
    await killed(world, job)
    await root_db["entries"].update_one({"_id": 1_000}, {"$set": {"hash": "f" * 64}})
    done = await world.done(job)
    assert done.verdict is not None
    assert done.verdict.broken is not None
    assert done.verdict.broken.seq == 1_000


async def test_a_worker_that_lost_its_lease_saves_nothing(world: World, root_db: Database) -> None:
    await world.service.request(Scope())
    worker = world.worker("slow")
    assert await world.lease.acquire()
    await root_db["leases"].update_one({"_id": "audit-verification"}, {"$set": {"holder": "x"}, "$inc": {"token": 1}})
    with pytest.raises(LeaseLost):
        await worker.turn()


async def test_a_verdict_that_was_altered_is_void(world: World, root_db: Database) -> None:
    await root_db["entries"].update_one({"_id": 3}, {"$set": {"outcome": "denied"}})
    job = await world.service.request(Scope())
    await world.done(job)
    await root_db["verifications"].update_one({"_id": job.id}, {"$set": {"result.place.broken": None}})
    assert (await world.service.read(job.id)).state == "void"


async def test_since_a_checkpoint_begins_there_and_says_so(world: World, root_db: Database) -> None:
    since = Scope(since_checkpoint=True)
    first = await world.verifier.whole(since)
    assert (first.after, first.verified) == (0, COUNT)
    assert first.findings == ("no checkpoint was verified before: this is a verification of the whole log",)
    again = await world.verifier.whole(since)
    assert (again.after, again.since_checkpoint, again.verified, again.broken) == (1_000, 2, 200, None)
    await root_db["entries"].update_one({"_id": 1_100}, {"$set": {"outcome": "denied"}})
    broken = (await world.verifier.whole(since)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 1_100)


async def test_a_hint_that_mongodbs_writer_made_up_is_not_believed(world: World, root_db: Database) -> None:
    await world.verifier.whole()
    await root_db["checkpoint_places"].update_one({"_id": "verified"}, {"$set": {"place.number": 1}})
    assert (await world.verifier.whole(Scope(since_checkpoint=True))).after == 0


async def test_a_range_that_the_log_has_not_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="ends at entry 1200"):
        await world.service.request(Scope(COUNT + 1))


async def test_a_shell_gets_the_verdict_and_the_status(
    world: World, root_db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = world.verifies(trust_mongo=False)
    assert await command.report(world.verifier, Scope(400, 450)) == 0
    assert json.loads(capsys.readouterr().out)["verified"] == 101
    await root_db["checkpoints"].delete_many({})
    assert await command.report(alone, Scope()) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == 2
    assert await command.report(world.verifier, Scope()) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["break"]["kind"]) == (False, "checkpoint-signature-mismatch")
    assert (printed["break"]["headSeq"], printed["break"]["checkpoint"]) == (500, 1)
    assert await command.report(alone, Scope(COUNT + 1)) == 2
