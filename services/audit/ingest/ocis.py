"""The audit log of ownCloud Infinite Scale: a file of JSON lines without ids, sometimes without times."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from typing import Any

from services.audit.facts import Unparseable
from services.audit.ingest.intake import Intake, Tenure
from services.audit.ingest.models import Arrival, Record, SourceError
from services.audit.ingest.reading import parse_object
from services.audit.ingest.repository import IngestRepository
from services.audit.ingest.tail import FileAway, Mark, Piece, Tail
from shared.clock import Clock

# A look that finds nothing is written down so often, not each time.
SAY_SO_EVERY = timedelta(seconds=10)


class OcisPoll:
    """One look at the file, in a thread: the disk may be slow, or away."""

    def __init__(self, tail: Tail, intake: Intake, repository: IngestRepository, tenure: Tenure, clock: Clock) -> None:
        self._tail = tail
        self._intake = intake
        self._repository = repository
        self._tenure = tenure
        self._clock = clock
        self._said_at = clock.now() - SAY_SO_EVERY

    async def close(self) -> None:
        """Let go of the file."""
        self._tail.close()

    async def once(self) -> bool:
        """Read what is new; True if there may be more. Lines are stored with the place that they reach.

        Raises SourceError, LeaseLost, and the driver's errors.
        """
        await self._intake.require_room()
        stored = await self._repository.position("ocis")
        mark = None if stored is None else Mark(**stored)
        try:
            piece, arrival = await asyncio.to_thread(self._look, mark)
        except FileAway as away:
            raise SourceError(f"AUDIT_OCIS_AUDIT_FILE: {away}") from away
        except OSError as error:
            raise SourceError(f"AUDIT_OCIS_AUDIT_FILE: {error.strerror}") from error
        if piece.mark != mark or self._clock.now() - self._said_at >= SAY_SO_EVERY:
            await self._intake.take(arrival, self._tenure)
            self._said_at = self._clock.now()
        return piece.more

    def _look(self, mark: Mark | None) -> tuple[Piece, Arrival]:
        piece = self._tail.read(mark)
        skipped = dict(piece.skipped)
        records = []
        for offset, line in piece.lines:
            if _is_object(line):
                records.append(self._record(piece.mark, offset, line))
            else:
                skipped["not_json"] = skipped.get("not_json", 0) + 1
        position: dict[str, Any] = asdict(piece.mark)
        return piece, Arrival("ocis", records, position, skipped, caught_up=not piece.more)

    def _record(self, mark: Mark, offset: int, line: bytes) -> Record:
        entry_id = f"ocis:{mark.file}-{offset}-{sha256(line).hexdigest()[:16]}"
        return Record(entry_id, "ocis", line, self._clock.now())


def _is_object(line: bytes) -> bool:
    try:
        parse_object(line)
    except Unparseable:
        return False
    return True
