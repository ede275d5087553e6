"""The archiver over a log of its own, with a folder for a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.audit.cold.archiver import Archiver, Limits
from services.audit.cold.journal import Journal
from services.audit.cold.manifest import ManifestSigner
from services.audit.cold.mover import Mover, Tenure
from services.audit.cold.repository import ArchiveRepository
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox

YEARS = timedelta(days=3_650)


class Folder:
    """A bucket as files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool:
        del retain_until
        await asyncio.to_thread(self._at(key).write_bytes, body)
        return True

    async def put_file_once(self, key: str, path: Path, *, retain_until: datetime | None = None) -> bool:
        del retain_until
        await asyncio.to_thread(shutil.copyfile, path, self._at(key))
        return True

    async def get(self, key: str, at_most: int | None = None) -> bytes | None:
        del at_most
        return await asyncio.to_thread(self._at(key).read_bytes)

    async def get_to_file(self, key: str, path: Path, at_most: int) -> str | None:
        del at_most
        await asyncio.to_thread(shutil.copyfile, self._at(key), path)
        return await asyncio.to_thread(_digest, path)

    async def keys(self, prefix: str, after: str = "") -> list[str]:
        names = await asyncio.to_thread(lambda: [file.name for file in self._root.iterdir()])
        found = sorted(name.replace("_", "/", 1) for name in names)
        return [key for key in found if key.startswith(prefix) and key > after]

    def _at(self, key: str) -> Path:
        return self._root / key.replace("/", "_", 1)


class Later:
    """A clock by which everything is old."""

    def now(self) -> datetime:
        return datetime.now(UTC) + YEARS


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def archived(mongo: Mongo, count: int) -> tuple[int, float, float]:
    """Archive a whole log: entries, seconds, peak memory of this process in MiB."""
    tenure = Tenure(Lease(mongo.db, "audit-archive", "benchmarks"))
    own = ArchiveRepository(mongo.db)
    with tempfile.TemporaryDirectory() as folder:
        mover = Mover(mongo.transactions, own, tenure, Journal(Outbox(mongo, "audit", Later())))
        archiver = Archiver(Folder(Path(folder)), ManifestSigner([bytes(32)]), own, mover, Later(), Limits())
        began = time.perf_counter()
        async with tenure.held():
            while (await archiver.run()).more:
                continue
        seconds = time.perf_counter() - began
    if await own.archived_up_to() != count or await own.lowest_hot() is not None:
        raise AssertionError("not everything was archived")
    return count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
