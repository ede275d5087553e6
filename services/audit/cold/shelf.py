"""Batches that were asked for lately, verified and unpacked on disk: a page then reads only the lines that it needs.

What lies there are lines whose digest the signed manifest names, in a folder of this process alone. A batch never
changes, so a copy is never stale; that cold storage has lost or altered its own is found by verification.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.audit.cold.batches import BatchDamagedError, Batches
from services.audit.cold.lines import EntryDamagedError, from_line
from services.audit.cold.manifest import Manifest
from services.audit.cold.summary import matches
from services.audit.models import Query, Stored

ROOM = 4
RUN = 250
"""Lines that are parsed at once: a list of 50 parses one run, where nothing is filtered."""


@dataclass(eq=False, slots=True)
class Shelved:
    """One batch, unpacked.

    Attributes:
        starts: the byte at which each run of lines begins, and at which the last one ends.
        readers: how many are reading it; while there are any it stays.
    """

    path: Path
    manifest: Manifest
    starts: Sequence[int]
    readers: int = 0

    async def newest(self, query: Query, limit: int) -> tuple[list[Stored], int | None]:
        """The newest entries that match, at most `limit`, and where to go on if there are more.

        Raises BatchDamagedError for a line that is signed and no entry.
        """
        found: list[Stored] = []
        first = self.manifest.start_seq
        above, below = query.above or 0, query.below or self.manifest.end_seq + 1
        for run in reversed(range(len(self.starts) - 1)):
            if first + run * RUN >= below:
                continue
            if first + (run + 1) * RUN - 1 <= above:
                break
            for entry in reversed(await asyncio.to_thread(self._read, run)):
                if entry["_id"] <= above or not matches(entry, query):
                    continue
                if len(found) == limit:
                    return found, int(found[-1]["_id"])
                found.append(entry)
        return found, None

    def _read(self, run: int) -> list[Stored]:
        with self.path.open("rb") as file:
            file.seek(self.starts[run])
            lines = file.read(self.starts[run + 1] - self.starts[run]).splitlines(keepends=True)
        place = self.manifest.start_seq + run * RUN
        try:
            return [from_line(line, place + number) for number, line in enumerate(lines)]
        except EntryDamagedError as error:
            raise BatchDamagedError(self.manifest.start_seq, "lines of the format", str(error)) from error


class Shelf:
    """The `room` batches that this process read last, and those that are being read; one at a time is fetched."""

    def __init__(self, batches: Batches, room: int = ROOM) -> None:
        self._batches = batches
        self._room = room
        self._shelved: OrderedDict[str, Shelved] = OrderedDict()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._fetching = asyncio.Lock()
        self._fetched = 0

    @contextlib.asynccontextmanager
    async def opened(self, manifest: Manifest) -> AsyncIterator[Shelved]:
        """The batch, for as long as it is read. Raises BatchDamagedError, StoreUnavailable."""
        shelved = self._take(manifest)
        if shelved is None:
            async with self._fetching:
                shelved = self._take(manifest) or await self._fetch(manifest)
        try:
            yield shelved
        finally:
            shelved.readers -= 1
            self._make_room()

    async def close(self) -> None:
        """Remove everything."""
        self._shelved.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _take(self, manifest: Manifest) -> Shelved | None:
        shelved = self._shelved.get(manifest.jsonl_key)
        if shelved is None or shelved.manifest != manifest:
            return None
        self._shelved.move_to_end(manifest.jsonl_key)
        shelved.readers += 1
        return shelved

    async def _fetch(self, manifest: Manifest) -> Shelved:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="dezky-audit-shelf-")
        self._fetched += 1
        path = Path(self._folder.name) / f"{self._fetched}.jsonl"
        try:
            async with self._batches.opened(manifest) as packed:
                starts = await asyncio.to_thread(_unpack, packed.path, path, manifest)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        shelved = self._shelved[manifest.jsonl_key] = Shelved(path, manifest, starts, readers=1)
        return shelved

    def _make_room(self) -> None:
        idle = [key for key, shelved in self._shelved.items() if not shelved.readers]
        for key in idle[: max(0, len(self._shelved) - self._room)]:
            self._shelved.pop(key).path.unlink(missing_ok=True)


def _unpack(packed: Path, path: Path, manifest: Manifest) -> list[int]:
    """Write the lines to `path`, and return where each run begins and the last one ends. Raises BatchDamagedError."""
    digest, starts, at, count = hashlib.sha256(), list[int](), 0, 0
    try:
        with gzip.open(packed, "rb") as lines, path.open("wb") as file:
            for line in lines:
                if count % RUN == 0:
                    starts.append(at)
                digest.update(line)
                file.write(line)
                at, count = at + len(line), count + 1
                if at > manifest.bytes_uncompressed:
                    break
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BatchDamagedError(manifest.start_seq, "lines of the format", str(error)) from error
    if digest.hexdigest() != manifest.sha256_jsonl or count != manifest.end_seq - manifest.start_seq + 1:
        raise BatchDamagedError(manifest.start_seq, manifest.sha256_jsonl, digest.hexdigest())
    return [*starts, at]
