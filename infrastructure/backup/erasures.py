"""The list of the erased, kept outside of every backup, in a file that only grows.

One JSON object a line, {"person", "at"}, as `python -m services.audit.erasures` reads and writes it. It holds no name
and no address, so it may be kept for ever and copied anywhere.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

from infrastructure.backup.deployment import Deployment
from infrastructure.backup.errors import Refused
from services.audit.erasing import Erasure
from services.audit.erasures import read
from services.audit.repository import AuditRepository
from shared.clock import rfc3339
from shared.mongo import Mongo


class ErasureList:
    """The file. Two writers take turns; what is in it is never changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def people(self) -> list[Erasure]:
        """Everybody in it. Raises Refused when it is missing or a line is none."""
        try:
            with self.path.open(encoding="utf-8") as file:
                return read(file)
        except FileNotFoundError:
            raise Refused(
                f"The list of the erased, {self.path}, is missing",
                "Bring it back from where it is copied to; an empty file there says that nobody was erased since",
            ) from None
        except OSError as error:
            raise Refused(f"{self.path} cannot be read: {error.strerror}", "Make it readable") from error
        except ValueError as error:
            raise Refused(
                f"{self.path}: {error}", "Take that line out, or correct it; a whole line is one person"
            ) from error

    def add(self, erasures: Iterable[Erasure]) -> int:
        """Append whoever is not in it yet, durably; return how many the list has now. Raises Refused."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                known = {erasure.person for erasure in self.people()}
                if (written := self.path.read_bytes()) and not written.endswith(b"\n"):
                    file.write("\n")  # it was interrupted just before, or somebody edited it
                for erasure in erasures:
                    if erasure.person not in known:
                        known.add(erasure.person)
                        file.write(json.dumps({"person": erasure.person, "at": rfc3339(erasure.at)}) + "\n")
                file.flush()
                os.fsync(file.fileno())
                return len(known)
        except OSError as error:
            raise Refused(
                f"{self.path} cannot be written: {error.strerror}", "Name a file that you may write"
            ) from error


async def write_down(deployment: Deployment, path: Path) -> int:
    """Bring the list up to what the audit service knows now; return how many people it has.

    Raises:
        Refused. The driver's errors.
    """
    mongo = Mongo(deployment.mongo_uri, deployment.databases["audit"], "dezky-backup")
    try:
        return ErasureList(path).add([erasure async for erasure in AuditRepository(mongo.db).erasures()])
    finally:
        await mongo.close()
