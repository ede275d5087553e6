"""MongoDB's own counts of what it looked at for one answer."""

from __future__ import annotations

from pymongo import AsyncMongoClient

from benchmarks.load import ask
from benchmarks.processes import Pinned
from benchmarks.servers import Servers
from shared.mongo import Document


async def examined(
    servers: Servers, database: str, collection: str, service: Pinned, request: bytes
) -> tuple[int, int, int]:
    """Send ``request`` once; return keys and rows examined in a collection, and rows returned, as the profiler says."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(servers.mongo_uri)
    async with client:
        db = client[database]
        await db["system.profile"].drop()
        await db.command("profile", 2)
        try:
            await ask(service.port, request)
        finally:
            await db.command("profile", 0)
        entries = await db["system.profile"].find({"ns": f"{database}.{collection}"}).to_list()
    keys, rows, returned = (
        sum(entry.get(name, 0) for entry in entries) for name in ("keysExamined", "docsExamined", "nreturned")
    )
    return keys, rows, returned
