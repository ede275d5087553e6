"""What archiving leaves in the log about itself, in the transaction of each change (as the archiver's own user)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shared.actors import system
from shared.contracts.audit import ArchiveRequested, Batch, BatchArchived, BatchRestored
from shared.contracts.envelope import Actor, Resource
from shared.mongo import Transaction
from shared.outbox import Outbox

SCHEDULE: Final = system("audit-archive")
"""Who archives when nobody asked."""


class Journal:
    """Adds events to the outbox of the audit service."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def requested(self, actor: Actor, tx: Transaction) -> None:
        """An operator asked for a run."""
        await self._outbox.add(tx, ArchiveRequested(actor=actor, resource=Resource(type="log", id="audit")))

    async def archived(self, actor: Actor, row: Mapping[str, Any], tx: Transaction) -> None:
        """A batch gets its row."""
        await self._outbox.add(tx, BatchArchived(actor=actor, resource=_batch(row), batch=_told(row)))

    async def restored(self, actor: Actor, row: Mapping[str, Any], until: datetime, tx: Transaction) -> None:
        """A batch begins to be put back."""
        await self._outbox.add(tx, BatchRestored(actor=actor, resource=_batch(row), batch=_told(row), until=until))


def _batch(row: Mapping[str, Any]) -> Resource:
    return Resource(type="archive", id=str(row["startSeq"]), name=f"{row['startSeq']} to {row['endSeq']}")


def _told(row: Mapping[str, Any]) -> Batch:
    return Batch.model_validate({field.alias: row[field.alias] for field in Batch.model_fields.values() if field.alias})
