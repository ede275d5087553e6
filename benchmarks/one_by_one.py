"""A relay that publishes one event at a time, the peer of ours: ``python -m benchmarks.one_by_one URI NATS``.

It reads the same outbox, numbers, publishes with an acknowledgement, and marks, row by row, as relays are commonly
written.
"""

from __future__ import annotations

import asyncio
import sys

import nats
import orjson
import uvloop
from pymongo import ReturnDocument

from shared.clock import SystemClock
from shared.mongo import Mongo
from shared.topology import Topology


async def relay(mongo_uri: str, nats_url: str) -> None:
    """Relay until killed."""
    mongo = Mongo(mongo_uri, "tenant", "benchmarks")
    rows, counters = mongo.db["outbox"], mongo.db["counters"]
    connection = await nats.connect(nats_url)
    stream, topology, clock = connection.jetstream(), Topology(), SystemClock()
    while True:
        pending = await rows.find({"pending": True}).sort("_id", 1).limit(100).to_list()
        for row in pending:
            counter = await counters.find_one_and_update(
                {"_id": "sourceseq"}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
            assert counter is not None
            payload = orjson.dumps({**row["envelope"], "sourceseq": counter["value"]})
            await stream.publish(topology.subject(row["type"]), payload, headers={"Nats-Msg-Id": row["_id"]})
            await rows.update_one(
                {"_id": row["_id"]}, {"$set": {"publishedAt": clock.now()}, "$unset": {"pending": ""}}
            )
        if not pending:
            await asyncio.sleep(0.005)


if __name__ == "__main__":
    uvloop.run(relay(sys.argv[1], sys.argv[2]))
