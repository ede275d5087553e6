"""Everything that a fleet keeps, as bytes by place: what an attacker with every right would search."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import nats
from bson.raw_bson import RawBSONDocument
from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from infrastructure.local import lifecycle
from infrastructure.local.servers.mongod import root_uri
from tests.support.fleet import Fleet

# A replica set's own journal keeps what was written until it turns over (ADR 21).
JOURNAL = ("local", "oplog.rs")
# Where the server keeps what is its own, some of it shown to nobody (error 13, Unauthorized).
SERVERS_OWN = frozenset({"admin", "config", "local"})
UNAUTHORIZED = 13
STREAM, DEAD, SESSIONS = "EVENTS", "DEAD_LETTERS", "KV_gateway-sessions"
# The suite's products keep people for themselves; their logs are not the platform's.
FOREIGN = ("authentik", "stalwart", "ocis", "s3")


@dataclass(frozen=True)
class Remains:
    """Finds needles (lower case) in whatever a fleet keeps; letters count alike, large or small."""

    fleet: Fleet
    operator: httpx.AsyncClient

    async def places_of(self, needles: list[bytes]) -> set[str]:
        """Return the places that hold one of the needles, as `where what`."""
        found = {place for place, raw in await asyncio.to_thread(self._still) if holds(raw, needles)}
        async with administrator(self.fleet) as admin:
            for stream in (STREAM, DEAD, SESSIONS):
                found |= {f"stream {stream}" async for raw in messages(admin, stream) if holds(raw, needles)}
        return found | {place for place, raw in await self._exports() if holds(raw, needles)}

    def _still(self) -> list[tuple[str, bytes]]:
        return [*self._documents(), *self._logs()]

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        """Every document of every collection of every database, as the bytes that are stored."""
        root: MongoClient[RawBSONDocument]
        with MongoClient(uri_of(self.fleet), document_class=RawBSONDocument) as root:
            for database in root.list_database_names():
                for name in root[database].list_collection_names(filter={"type": {"$ne": "view"}}):
                    if (database, name) != JOURNAL:
                        yield from ((f"mongo {database}.{name}", raw) for raw in rows(root[database][name]))

    def _logs(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.fleet.place.logs.rglob("*")):
            if path.is_file() and not path.name.startswith(FOREIGN):
                yield f"log {path.name}", path.read_bytes()

    async def _exports(self) -> list[tuple[str, bytes]]:
        paths = ("/api/audit?format=ndjson", "/api/audit?format=csv", "/api/audit/export?reveal=true")
        made = await self.operator.post("/api/audit/checkpoint")  # a bundle reaches as far as the newest
        assert made.is_success, made.text
        answers = [await self.operator.get(path) for path in paths]
        assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text[:300] for answer in answers]
        return [(f"export {path}", answer.content) for path, answer in zip(paths, answers, strict=True)]


def rows(collection: Collection[RawBSONDocument]) -> Iterator[bytes]:
    """Yield the documents of a collection; nothing of one that the server keeps for itself."""
    try:
        for row in collection.find():
            yield bytes(row.raw)
    except OperationFailure as refused:
        if refused.code != UNAUTHORIZED or collection.database.name not in SERVERS_OWN:
            raise


def holds(raw: bytes, needles: list[bytes]) -> bool:
    """Tell whether one of the needles is in the bytes."""
    low = raw.lower()
    return any(needle in low for needle in needles)


def uri_of(fleet: Fleet) -> str:
    """Return MongoDB's address as its root user."""
    return root_uri(fleet.place.port(30), lifecycle.credentials_of(fleet.place).mongo["root"])


@contextlib.asynccontextmanager
async def administrator(fleet: Fleet) -> AsyncIterator[Client]:
    """A connection to the streams that may do everything."""
    password = lifecycle.credentials_of(fleet.place).nats["admin"]
    admin = await nats.connect(f"nats://admin:{password}@127.0.0.1:{fleet.place.port(31)}")
    try:
        yield admin
    finally:
        await admin.close()


async def events(admin: Client) -> AsyncIterator[tuple[str, bytes]]:
    """Yield subject and body of every event."""
    async for message in _stored(admin, STREAM):
        yield message.subject or "", message.data or b""


async def messages(admin: Client, stream: str) -> AsyncIterator[bytes]:
    """Yield subject, headers and body of every message that a stream holds."""
    async for message in _stored(admin, stream):
        yield f"{message.subject} {message.headers} ".encode() + (message.data or b"")


async def _stored(admin: Client, stream: str) -> AsyncIterator[RawStreamMsg]:
    streams = admin.jetstream()
    state = (await streams.stream_info(stream)).state
    for number in range(max(state.first_seq, 1), state.last_seq + 1):
        with contextlib.suppress(NotFoundError):
            yield await streams.get_msg(stream, number, direct=True)


async def caught_up(admin: Client) -> bool:
    """Tell whether every durable consumer has handled all that was said."""
    found = await admin.jetstream().consumers_info(STREAM)
    return bool(found) and all(not (each.num_pending or each.num_ack_pending) for each in found)
