"""One bucket of an S3 store: objects are written once, with a checksum, and never believed to be there unseen.

Every call has a deadline and is made once: a put whose answer was lost is settled by reading the object back,
because a repeated conditional put would meet its own first attempt.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import Unavailable

log = structlog.get_logger()

CONNECT_SECONDS = 2.0
READ_SECONDS = 10.0
CALL_SECONDS = 30.0
PART_BYTES = 8 * 1024 * 1024
_CHUNK = 1024 * 1024
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
# What the client library lets through of sockets, HTTP, XML and its own checks.
_FAILURES = (BotoCoreError, ClientError, aiohttp.ClientError, OSError, ValueError, KeyError)


class StoreUnavailable(Unavailable):
    """No answer in time, a 5xx, a refusal or a wrong answer. Whether a put took effect is unknown."""

    code, title = "store_unavailable", "The object store is away"


class ColdStorageAbsent(Unavailable):
    """No object store was configured for this service."""

    code, title = "cold_storage_not_configured", "Cold storage is not configured"


@dataclass(frozen=True, slots=True)
class Access:
    """Where an S3 store is, and what opens it. `encrypted` asks it to encrypt what it stores (SSE, AES256)."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    encrypted: bool = False
    read_seconds: float = READ_SECONDS


class ObjectStore:
    """One bucket, addressed by path. The connection is opened by the first call and ended by `close`."""

    def __init__(self, access: Access, bucket: str, part_bytes: int = PART_BYTES) -> None:
        self._access = access
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._opening = asyncio.Lock()
        self._open = contextlib.AsyncExitStack()
        self._client: Any = None

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool:
        """Store an object unless the key exists; whether it is there now. What was there is never overwritten.

        False means that the key holds something else. Raises StoreUnavailable.
        """
        request = {**self._fresh(key, retain_until), "Body": body, "ChecksumSHA256": _checksum(body)}
        try:
            async with self._calling() as s3:
                await s3.put_object(**request, IfNoneMatch="*")
        except _FAILURES as error:
            # Also after a refusal: aiohttp sends again by itself what a connection that ended had carried away.
            there = await self.get(key, at_most=len(body))
            if there is None:
                raise _away("put", key, error) from error
            return there == body
        return True

    async def put_file_once(self, key: str, path: Path, *, retain_until: datetime | None = None) -> bool:
        """`put_once` for a file of any length, in parts; one part is in memory at a time."""
        if await asyncio.to_thread(_size, path) <= self._part_bytes:
            return await self.put_once(key, await asyncio.to_thread(path.read_bytes), retain_until=retain_until)
        # The condition is checked by the last call of all; look first, and spare the parts.
        if await self.exists(key):
            return await self._holds(key, path)
        try:
            await self._put_parts(key, path, retain_until)
        except _FAILURES as error:
            if not await self.exists(key):
                raise _away("put", key, error) from error
            return await self._holds(key, path)
        return True

    async def exists(self, key: str) -> bool:
        """Whether the key has an object. Raises StoreUnavailable."""
        try:
            async with self._calling() as s3:
                await s3.head_object(Bucket=self._bucket, Key=key)
        except _FAILURES as error:
            if _code(error) in _ABSENT:
                return False
            raise _away("head", key, error) from error
        return True

    async def get(self, key: str, at_most: int | None = None) -> bytes | None:
        """The object, or None; of one longer than `at_most` no more than one byte beyond. Raises StoreUnavailable."""
        parts: list[bytes] = []
        room = at_most
        found = False
        async with contextlib.aclosing(self.stream(key)) as pieces:
            async for part in pieces:
                found = True
                parts.append(part)
                if room is not None:
                    room -= len(part)
                    if room < 0:
                        break
        return b"".join(parts) if found else None

    async def get_to_file(self, key: str, path: Path, at_most: int) -> str | None:
        """Copy the object into a file, in constant memory; its SHA-256 in hex, or None if there is none.

        Reads no more than one piece beyond `at_most` bytes. Raises StoreUnavailable.
        """
        digest, size, found = hashlib.sha256(), 0, False
        with path.open("wb") as file:
            async with contextlib.aclosing(self.stream(key)) as pieces:
                async for part in pieces:
                    found = True
                    digest.update(part)
                    await asyncio.to_thread(file.write, part)
                    size += len(part)
                    if size > at_most:
                        break
        return digest.hexdigest() if found else None

    async def stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """The object in pieces, at least one even if it is empty; nothing if it does not exist.

        Raises StoreUnavailable, also for an object that ends before its announced length.
        """
        try:
            async with self._calling() as s3:
                answer = await s3.get_object(Bucket=self._bucket, Key=key)
            expected, seen = int(answer["ContentLength"]), 0
            async with answer["Body"] as reply:
                while True:
                    async with asyncio.timeout(self._access.read_seconds):
                        part = await reply.content.read(_CHUNK)
                    seen += len(part)
                    if part or not expected:
                        yield part
                    if not part:
                        break
            if seen != expected:
                raise ValueError(f"{seen} bytes of {expected}")
        except _FAILURES as error:
            if _code(error) in _ABSENT:
                return
            raise _away("get", key, error) from error

    async def keys(self, prefix: str, after: str = "") -> list[str]:
        """Every key under a prefix that sorts after `after`, ascending. Raises StoreUnavailable."""
        found: list[str] = []
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix}
        if after:
            request["StartAfter"] = after
        try:
            while True:
                async with self._calling() as s3:
                    answer = await s3.list_objects_v2(**request)
                found += [row["Key"] for row in answer.get("Contents", ())]
                if not answer.get("IsTruncated"):
                    break
                request["ContinuationToken"] = answer["NextContinuationToken"]
        except _FAILURES as error:
            raise _away("list", prefix, error) from error
        return sorted(key for key in found if key > after)

    async def close(self) -> None:
        """End the connection."""
        self._client = None
        await self._open.aclose()

    async def _put_parts(self, key: str, path: Path, retain_until: datetime | None) -> None:
        async with self._calling() as s3:
            begun = await s3.create_multipart_upload(**self._fresh(key, retain_until))
        upload = {"Bucket": self._bucket, "Key": key, "UploadId": begun["UploadId"]}
        try:
            parts = await self._send_parts(upload, path)
            async with self._calling() as s3:
                await s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            # Parts that nobody puts together cost money; what this cannot remove, the bucket's life cycle does.
            with contextlib.suppress(*_FAILURES):
                async with self._calling() as s3:
                    await s3.abort_multipart_upload(**upload)
            raise

    async def _send_parts(self, upload: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        with path.open("rb") as file:
            while part := await asyncio.to_thread(file.read, self._part_bytes):
                number, checksum = len(parts) + 1, _checksum(part)
                async with self._calling() as s3:
                    sent = await s3.upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=checksum)
                parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": checksum})
        return parts

    async def _holds(self, key: str, path: Path) -> bool:
        """Whether the object is this file, byte by byte."""
        with path.open("rb") as file:
            found = False
            async with contextlib.aclosing(self.stream(key)) as pieces:
                async for part in pieces:
                    found = True
                    if part != await asyncio.to_thread(file.read, len(part)):
                        return False
            return found and not file.read(1)

    def _fresh(self, key: str, retain_until: datetime | None) -> dict[str, Any]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "ChecksumAlgorithm": "SHA256"}
        if self._access.encrypted:
            request["ServerSideEncryption"] = "AES256"
        if retain_until is not None:
            request |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": retain_until}
        return request

    @contextlib.asynccontextmanager
    async def _calling(self) -> AsyncIterator[Any]:
        async with asyncio.timeout(CALL_SECONDS):
            yield await self._connected()

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                access = self._access
                session = aioboto3.Session(access.access_key, access.secret_key, region_name=access.region)
                config = Config(
                    s3={"addressing_style": "path"},
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=access.read_seconds,
                    retries={"max_attempts": 0},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                opening = session.client("s3", endpoint_url=access.endpoint, config=config)
                self._client = await self._open.enter_async_context(opening)
            return self._client


class AbsentStore:
    """What is in the place of a store that was not configured: every call raises ColdStorageAbsent."""

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool:
        raise _absent(key, body, retain_until)

    async def put_file_once(self, key: str, path: Path, *, retain_until: datetime | None = None) -> bool:
        raise _absent(key, path, retain_until)

    async def get(self, key: str, at_most: int | None = None) -> bytes | None:
        raise _absent(key, at_most)

    async def get_to_file(self, key: str, path: Path, at_most: int) -> str | None:
        raise _absent(key, path, at_most)

    async def keys(self, prefix: str, after: str = "") -> list[str]:
        raise _absent(prefix, after)

    async def close(self) -> None:
        """Nothing was opened."""


def _absent(*_asked: object) -> ColdStorageAbsent:
    return ColdStorageAbsent("set AUDIT_COLD_ENDPOINT, and with it AUDIT_COLD_ACCESS_KEY and AUDIT_COLD_SECRET_KEY")


def _size(path: Path) -> int:
    return path.stat().st_size


def _checksum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _code(error: BaseException) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def _away(what: str, key: str, error: BaseException) -> StoreUnavailable:
    log.warning("object_store.failed", call=what, key=key, error=type(error).__name__, code=_code(error))
    return StoreUnavailable(
        f"the object store did not do {what}: {_code(error) or type(error).__name__}", retry_after=5
    )
