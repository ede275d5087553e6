"""What is measured inside one process, on the subject's core: ``python -m benchmarks.inner append|verify|archive …``.

Prints one JSON object: lists of [count, seconds, seconds of CPU] by name.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import orjson
import rfc8785
import uvloop
from pymongo import ReturnDocument

from benchmarks.archiving import archived
from benchmarks.events import facts
from services.audit.canonical import FIELDS
from services.audit.chain import ChainWriter
from services.audit.checkpoints.keys import CheckpointKeys, HmacKey, Tenure
from services.audit.checkpoints.repository import CheckpointRepository
from services.audit.models import Stored, Verdict
from services.audit.personal import Vault
from services.audit.repository import INDEXES, AuditRepository
from services.audit.verifications.sources import Checkpoints
from services.audit.verifications.verification import Verification
from shared import logs
from shared.app import COMMON_INDEXES
from shared.leases import Lease
from shared.mongo import Mongo

Taken = tuple[int, float, float]
_BATCH = 500
_VAULT = Vault(bytes(32))


async def _timed(count: int, work: Callable[[], Awaitable[object]]) -> Taken:
    began, cpu = time.perf_counter(), time.process_time()
    await work()
    return count, time.perf_counter() - began, time.process_time() - cpu


class Log:
    """An audit database of its own, and its writer."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo
        self.repository = AuditRepository(mongo.db)
        self._lease = Lease(mongo.db, "audit-chain", "benchmarks")
        self.writer = ChainWriter(mongo.transactions, self.repository, _VAULT, self._lease)
        self._next = 1

    @classmethod
    async def opened(cls, uri: str, name: str) -> Log:
        log = cls(Mongo(uri, name, "benchmarks"))
        await log.mongo.ensure_indexes({**COMMON_INDEXES, **INDEXES})
        if not await log._lease.acquire():
            raise AssertionError("nobody else holds this lease")
        return log

    async def verify(self) -> Verdict:
        """The verdict on the whole log, as the service gives it."""
        keys = CheckpointKeys([Tenure(HmacKey(bytes(32)))])
        checkpoints = Checkpoints(keys, CheckpointRepository(self.mongo.db), None)
        return await Verification(self.repository, checkpoints, _VAULT).run()

    async def append(self, count: int) -> Taken:
        """Append ``count`` new facts in batches; making the facts is not part of it."""
        batches = []
        for _ in range(0, count, _BATCH):
            batches.append(facts(self._next, _BATCH))
            self._next += _BATCH
        await self._lease.acquire()

        async def work() -> None:
            for batch in batches:
                appended = await self.writer.append(batch)
                if appended.chained != len(batch):
                    raise AssertionError("every fact was new")

        return await _timed(len(batches) * _BATCH, work)

    async def newest(self, count: int) -> list[Stored]:
        rows = await self.mongo.db["entries"].find().sort("_id", -1).limit(count).to_list()
        return rows[::-1]


class Plain:
    """A collection with the same indexes and the same write concern, for documents that are made already."""

    def __init__(self, mongo: Mongo) -> None:
        self._entries = mongo.db["entries"]
        self._counters = mongo.db["counters"]

    async def bulk(self, documents: Sequence[Stored]) -> Taken:
        """A bare bulk insert, in the batches that the chain is written in."""

        async def work() -> None:
            for start in range(0, len(documents), _BATCH):
                await self._entries.insert_many(documents[start : start + _BATCH])

        return await _timed(len(documents), work)

    async def one_by_one(self, documents: Sequence[Stored]) -> Taken:
        """Allocate a number, look the entry before it up, insert: as a log without batches is written."""

        async def work() -> None:
            for document in documents:
                counter = await self._counters.find_one_and_update(
                    {"_id": "seq"}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
                )
                assert counter is not None
                before = await self._entries.find_one({"_id": counter["value"] - 1}, {"hash": 1})
                previous = before["hash"] if before else None
                await self._entries.insert_one({**document, "_id": counter["value"], "prevHash": previous})

        return await _timed(len(documents), work)


async def append(uri: str, rounds: int, count: int, singly: int) -> dict[str, list[Taken]]:
    """Time the chain and both peers over the same documents, in turn."""
    log = await Log.opened(uri, "chain")
    bulk, single = Mongo(uri, "bulk", "benchmarks"), Mongo(uri, "single", "benchmarks")
    for mongo in (bulk, single):
        await mongo.ensure_indexes(INDEXES)
    await log.append(_BATCH)
    taken: dict[str, list[Taken]] = {"chain": [], "bulk": [], "single": []}
    for _ in range(rounds):
        taken["chain"].append(await log.append(count))
        documents = await log.newest(count)
        taken["bulk"].append(await Plain(bulk).bulk(documents))
        taken["single"].append(await Plain(single).one_by_one(documents[:singly]))
    verdict = await log.verify()
    if verdict.broken is not None or verdict.verified != rounds * count + _BATCH:
        raise AssertionError(f"the chain that was measured does not verify: {verdict}")
    for mongo in (log.mongo, bulk, single):
        await mongo.close()
    return taken


async def verification(uri: str, rounds: int, count: int) -> dict[str, list[Taken]]:
    """Time ``verify`` over a log, against hashing the same entries in memory."""
    log = await Log.opened(uri, "verify")
    await log.append(count)
    entries = [{name: entry[name] for name in FIELDS} for entry in await log.newest(count)]

    async def bare(dumps: Callable[[object], bytes]) -> None:
        for entry in entries:
            hashlib.sha256(dumps(entry)).hexdigest()

    async def verified() -> None:
        verdict = await log.verify()
        if verdict.broken is not None or verdict.verified != len(entries):
            raise AssertionError(f"the log does not verify: {verdict}")

    taken: dict[str, list[Taken]] = {"verify": [], "rfc8785": [], "orjson": []}
    for _ in range(rounds):
        taken["verify"].append(await _timed(len(entries), verified))
        taken["rfc8785"].append(await _timed(len(entries), lambda: bare(rfc8785.dumps)))  # type: ignore[arg-type]
        taken["orjson"].append(
            await _timed(len(entries), lambda: bare(lambda e: orjson.dumps(e, option=orjson.OPT_SORT_KEYS)))
        )
    await log.mongo.close()
    return taken


async def archive(uri: str, count: int) -> dict[str, list[Taken]]:
    """Time the archiver over a log of its own; the third number is the peak memory in MiB."""
    log = await Log.opened(uri, "archive")
    for _ in range(0, count, _BATCH):  # one batch of facts in memory, as in the archiver
        await log.append(_BATCH)
    taken = await archived(log.mongo, count)
    await log.mongo.close()
    return {"archive": [taken]}


async def _main(what: str, uri: str, *numbers: str) -> None:
    sizes = [int(number) for number in numbers]
    if what == "append":
        taken = await append(uri, *sizes)
    elif what == "archive":
        taken = await archive(uri, *sizes)
    else:
        taken = await verification(uri, *sizes)
    sys.stdout.buffer.write(orjson.dumps(taken))


if __name__ == "__main__":
    logs.configure("benchmarks", "WARNING")  # what is printed is the result
    uvloop.run(_main(*sys.argv[1:]))
