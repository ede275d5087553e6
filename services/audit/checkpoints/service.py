"""Checkpoints on demand."""

from __future__ import annotations

from services.audit.checkpoints.keys import CheckpointKeys, complaint
from services.audit.checkpoints.models import Row
from services.audit.checkpoints.repository import CheckpointRepository, SupersededError
from services.audit.checkpoints.witness import Copier, copied
from services.audit.checkpoints.writer import CheckpointBusy, CheckpointRefused, CheckpointWriter, Made
from shared.errors import NotFound
from shared.mongo import Claim


class NoCheckpoint(NotFound):
    code, title = "no_checkpoint", "The log is empty, so there is no checkpoint"


class CheckpointService:
    """The newest checkpoint, and a new one."""

    def __init__(
        self,
        repository: CheckpointRepository,
        keys: CheckpointKeys,
        writer: CheckpointWriter,
        copier: Copier | None,
    ) -> None:
        self._repository = repository
        self._keys = keys
        self._writer = writer
        self._copier = copier

    async def latest(self) -> Row:
        """The newest checkpoint. Raises NoCheckpoint, and CheckpointRefused when it is not what was signed."""
        row = await self._repository.newest()
        if row is None:
            raise NoCheckpoint("add an event first")
        if (wrong := complaint(self._keys, row)) is not None:
            raise CheckpointRefused(f"the newest checkpoint in MongoDB is not what was signed: {wrong}")
        return row

    async def make(self, claim: Claim) -> Made:
        """Sign the head now, and give the witness a copy. Raises NoCheckpoint, and what the writer raises."""
        try:
            made = await self._writer.make("manual", claim)
        except SupersededError as error:
            raise CheckpointBusy("another replica has just made one: ask again") from error
        if made is None:
            raise NoCheckpoint("add an event first")
        await copied(self._copier)
        return made
