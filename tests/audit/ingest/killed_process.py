"""Ingestion, in a process that is killed within its transaction: `arriving` or `leaving`.

Composed of production parts; only one write is replaced, by what the operating system does to a process.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.audit.chain import ChainWriter
from services.audit.ingest.intake import Intake
from services.audit.ingest.models import Arrival, Record
from services.audit.ingest.outflow import Outflow
from services.audit.ingest.repository import IngestRepository
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from shared.clock import SystemClock
from shared.leases import Lease
from shared.mongo import Mongo, Transaction
from tests.audit.events import PERSONAL_KEY


class KilledArriving(IngestRepository):
    """Dies between the records and their position."""

    async def note(self, *_arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KilledLeaving(IngestRepository):
    """Dies between the entries and the removal from the queue."""

    async def remove(self, ids: Sequence[str], tx: Transaction) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(where: str, uri: str, database: str) -> None:
    mongo = Mongo(uri, database, "tests-killed")
    if where == "arriving":
        records = [Record(f"ocis:{n}", "ocis", b'{"Action": "x"}', datetime.now(UTC)) for n in range(3)]
        intake = Intake(mongo.transactions, KilledArriving(mongo.db), SystemClock())
        await intake.take(Arrival("ocis", records, {"offset": 3}))
    lease = Lease(mongo.db, "audit-chain", "killed")
    await lease.hold()
    writer = ChainWriter(mongo.transactions, AuditRepository(mongo.db), Vault(PERSONAL_KEY), lease)
    await Outflow(KilledLeaving(mongo.db), writer).drain()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
