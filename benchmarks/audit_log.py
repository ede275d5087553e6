"""A log to be read, made of really linked entries as fast as it goes: many to an insert, not waiting for the disk."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta

from pymongo import WriteConcern

from benchmarks.events import facts
from services.audit.chain import link
from services.audit.models import Fact, Head
from services.audit.personal import KeyRing, Vault, commit_fact
from services.audit.repository import CHAIN, INDEXES
from shared.app import COMMON_INDEXES
from shared.clock import rfc3339
from shared.mongo import Mongo
from shared.settings import decode_key
from shared.testing import seed_text

RARE = 1_000
"""One of so many entries is rare: a suspension that was refused, by way of the gateway."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=1)
_BATCH = 2_000


class GrowingLog:
    """The audit database, and the end of its chain."""

    def __init__(self, uri: str) -> None:
        self.mongo = Mongo(uri, "audit", "benchmarks")
        self._db = self.mongo.db.with_options(write_concern=WriteConcern(1))
        self._ring = KeyRing(Vault(decode_key(seed_text("personal"))), [])
        self._saved = 0
        self.head = Head()

    async def prepare(self) -> None:
        """Make the indexes that the service makes."""
        await self.mongo.ensure_indexes({**COMMON_INDEXES, **INDEXES})

    async def grow(self, size: int, until: float) -> bool:
        """Append up to `size` entries in all; False if the monotonic clock said `until` before."""
        while self.head.seq < size:
            if time.monotonic() > until:
                break
            count = min(_BATCH, size - self.head.seq)
            made = facts(self.head.seq + 1, count)
            committed = [commit_fact(_placed(fact, self.head.seq + 1 + at), self._ring) for at, fact in enumerate(made)]
            entries = link(self.head, committed)
            await self._db["entries"].insert_many([{"_id": entry["seq"], **entry} for entry in entries], ordered=False)
            self.head = Head(entries[-1]["seq"], entries[-1]["hash"])
        await self._save()
        return self.head.seq >= size

    async def _save(self) -> None:
        """Make the log whole: head and keys."""
        head = {"_id": CHAIN, "seq": self.head.seq, "hash": self.head.hash}
        await self.mongo.db["heads"].replace_one({"_id": CHAIN}, head, upsert=True)
        created, self._saved = self._ring.created[self._saved :], len(self._ring.created)
        if created:
            await self.mongo.db["person_keys"].insert_many(created)


def _placed(fact: Fact, number: int) -> Fact:
    changed = {"at": rfc3339(BEGAN + number * STEP)}
    if number % RARE == 0:
        changed |= {"action": "tenant.suspended", "outcome": "denied", "source": "gateway"}
    return dataclasses.replace(fact, fields={**fact.fields, **changed})
