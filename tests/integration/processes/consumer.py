"""A consumer that writes one row per event; with ``DIE_AT=ack`` it kills itself instead of acknowledging."""

from __future__ import annotations

import asyncio
import os
import signal

from shared.bus import Bus
from shared.clock import SystemClock
from shared.contracts import CloudEvent
from shared.inbox import EventConsumer
from shared.mongo import Mongo, Transaction
from shared.topology import Topology


class DyingBus(Bus):
    async def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        if os.environ.get("DIE_AT") == "ack" and payload == b"+ACK":
            os.kill(os.getpid(), signal.SIGKILL)
        await super().send(subject, payload, reply)


async def main() -> None:
    mongo = Mongo(os.environ["MONGO_URI"], os.environ["MONGO_DATABASE"], "tests")
    bus = DyingBus(os.environ["NATS_URL"], "audit", Topology(os.environ["NATS_PREFIX"]))
    bus.start()

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        await mongo.db["effects"].insert_one({"number": event.data["number"]}, session=tx)

    await EventConsumer(bus, "audit-chain", mongo, handle, SystemClock()).run()


if __name__ == "__main__":
    asyncio.run(main())
