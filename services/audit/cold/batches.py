"""Batches as files: made from hot entries, and fetched back. Memory is constant; the disk holds one batch."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from services.audit.cold.lines import EntryDamagedError, from_line, to_line
from services.audit.cold.manifest import MOST_BYTES, Manifest, ManifestDamagedError, ManifestSigner, Place
from services.audit.cold.object_store import ColdStorageAbsent
from services.audit.cold.summary import Summing
from services.audit.models import Head, Stored
from shared.clock import rfc3339

CHUNK = 500
_COPY = 1024 * 1024


class Store(Protocol):
    """What archives need of a bucket (`object_store.ObjectStore`)."""

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool: ...

    async def put_file_once(self, key: str, path: Path, *, retain_until: datetime | None = None) -> bool: ...

    async def get(self, key: str, at_most: int | None = None) -> bytes | None: ...

    async def get_to_file(self, key: str, path: Path, at_most: int) -> str | None: ...

    async def keys(self, prefix: str, after: str = "") -> list[str]: ...


class BatchDamagedError(Exception):
    """A manifest or a batch is not what it was: missing, altered, exchanged, or signed by somebody else."""

    def __init__(self, start_seq: int, expected: str, actual: str) -> None:
        super().__init__(f"the batch from {start_seq} on: expected {expected}, found {actual}")
        self.start_seq = start_seq
        self.expected = expected
        self.actual = actual


class BatchBuilder:
    """Writes entries into a compressed file. Synchronous: call it in a thread."""

    def __init__(self, path: Path, place: Place) -> None:
        self.path = path
        self._place = place
        self._file = path.open("wb")
        # No name and no time, so that the same entries make the same bytes.
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=self._file, mtime=0)
        self._digest = hashlib.sha256()
        self._summing = Summing()
        self.at = Head(place.start_seq - 1, place.prev_hash)
        self.size = 0

    @property
    def count(self) -> int:
        """Entries so far."""
        return self.at.seq - self._place.start_seq + 1

    def add(self, entries: Sequence[Stored], most_bytes: int) -> bool:
        """Append entries in order, until there are so many bytes of lines; False once that is reached.

        Raises EntryDamagedError.
        """
        for entry in entries:
            line = to_line(entry, self.at)
            self._gzip.write(line)
            self._digest.update(line)
            self._summing.add(entry)
            self.size += len(line)
            self.at = Head(self.at.seq + 1, entry["hash"])
            if self.size >= most_bytes:
                return False
        return True

    def finish(self, archived_at: datetime) -> Manifest:
        """The manifest of what was added; its key is the first that may be tried."""
        self.close()
        compressed = _digest_of(self.path)
        return Manifest(
            start_seq=self._place.start_seq,
            end_seq=self.at.seq,
            event_count=self.count,
            prev_manifest=self._place.manifest,
            prev_hash=self._place.prev_hash,
            last_hash=self.at.hash,
            jsonl_key=batch_key(self._place.start_seq, compressed, 0),
            sha256_gzip=compressed,
            sha256_jsonl=self._digest.hexdigest(),
            bytes_compressed=self.path.stat().st_size,
            bytes_uncompressed=self.size,
            archived_at=rfc3339(archived_at),
            summary=self._summing.summary(),
        )

    def close(self) -> None:
        """Let go of the files; may be repeated."""
        self._gzip.close()
        self._file.close()


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A batch on disk whose compressed bytes are those that its manifest names."""

    path: Path
    manifest: Manifest

    async def chunks(self, after: int = 0) -> AsyncGenerator[list[Stored], None]:
        """Its entries with numbers above `after`, ascending, some hundred at a time. Raises BatchDamagedError."""
        with self.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as lines:
            reading = self._read(lines)
            while True:
                chunk = await asyncio.to_thread(next, reading, None)
                if chunk is None:
                    return
                if wanted := [entry for entry in chunk if entry["_id"] > after]:
                    yield wanted

    def _read(self, lines: gzip.GzipFile) -> Iterator[list[Stored]]:
        place, digest, chunk = self.manifest.start_seq, hashlib.sha256(), list[Stored]()
        try:
            for line in lines:
                digest.update(line)
                chunk.append(from_line(line, place))
                place += 1
                if len(chunk) == CHUNK:
                    yield chunk
                    chunk = []
        except (OSError, EOFError, EntryDamagedError) as error:
            raise BatchDamagedError(self.manifest.start_seq, "lines of the format", str(error)) from error
        if digest.hexdigest() != self.manifest.sha256_jsonl or place != self.manifest.end_seq + 1:
            raise BatchDamagedError(self.manifest.start_seq, self.manifest.sha256_jsonl, digest.hexdigest())
        if chunk:
            yield chunk


class Batches:
    """Fetches manifests and batches, and believes only what is signed."""

    def __init__(self, store: Store, signer: ManifestSigner) -> None:
        self._store = store
        self._signer = signer

    async def manifest(self, key: str, start_seq: int, sha256: str) -> Manifest:
        """The manifest with this digest. Raises BatchDamagedError, StoreUnavailable."""
        stored = await self._store.get(key, at_most=MOST_BYTES)
        if stored is None:
            raise BatchDamagedError(start_seq, f"a manifest at {key}", "none")
        if (found := hashlib.sha256(stored).hexdigest()) != sha256:
            raise BatchDamagedError(start_seq, f"the manifest {sha256}", found)
        try:
            return self._signer.opened(stored)
        except ManifestDamagedError as error:
            raise BatchDamagedError(start_seq, "a manifest signed by this service", str(error)) from error

    async def any_from(self, start_seq: int) -> bool:
        """Whether cold storage has a manifest that we signed of a batch from `start_seq` on; False without a store."""
        try:
            keys = await self._store.keys(manifest_key(start_seq, 0).removesuffix("0.json"))
            bodies = [await self._store.get(key, at_most=MOST_BYTES) for key in keys]
        except ColdStorageAbsent:
            return False
        return any(body is not None and self._is_ours(body) for body in bodies)

    def _is_ours(self, stored: bytes) -> bool:
        try:
            self._signer.opened(stored)
        except ManifestDamagedError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def opened(self, manifest: Manifest) -> AsyncIterator[BatchFile]:
        """The batch on disk, for as long as it is needed. Raises BatchDamagedError, StoreUnavailable."""
        async with folder() as place:
            path = place / "fetched.jsonl.gz"
            found = await self._store.get_to_file(manifest.jsonl_key, path, at_most=manifest.bytes_compressed)
            if found != manifest.sha256_gzip:
                raise BatchDamagedError(manifest.start_seq, f"a batch {manifest.sha256_gzip}", found or "none")
            yield BatchFile(path, manifest)


@contextlib.asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dezky-audit-") as name:
        yield Path(name)


def batch_key(start_seq: int, sha256: str, attempt: int) -> str:
    """Where a batch lies: named by its content, so that a key can hold nothing else; later attempts are marked."""
    again = f"-{attempt}" if attempt else ""
    return f"batches/{start_seq:016d}-{sha256}{again}.jsonl.gz"


def manifest_key(start_seq: int, attempt: int) -> str:
    """Where a manifest lies: one key for each start, so that two archivers meet there."""
    return f"manifests/{start_seq:016d}-{attempt}.json"


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in _pieces(file):
            digest.update(part)
    return digest.hexdigest()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(_COPY):
        yield part
