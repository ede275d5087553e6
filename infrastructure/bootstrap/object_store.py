"""S3: the buckets of the audit log, which nobody can empty before their time.

Object Lock brings versioning with it. A bucket is best born with both; where a store can add the lock later (as AWS
S3 does), it is added, and where it cannot, somebody has to choose another bucket.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.bootstrap.reports import ByHand, NotReady, Outcome, Report

_POLL_SECONDS = 0.5
_ABSENT = {"404", "NoSuchBucket", "NotFound"}
_DENIED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_UNLOCKED = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}


@contextlib.asynccontextmanager
async def client(endpoint: str, region: str, access_key: str, secret_key: str) -> AsyncIterator[Any]:
    """A client without retries of its own, each of whose calls ends after a few seconds."""
    import aioboto3  # noqa: PLC0415 - a second of the supervisor's start
    from botocore.config import Config  # noqa: PLC0415

    settings = Config(s3={"addressing_style": "path"}, connect_timeout=1, read_timeout=3, retries={"max_attempts": 0})
    session = aioboto3.Session(access_key, secret_key, region_name=region)
    async with session.client("s3", endpoint_url=endpoint, config=settings) as s3:
        yield s3


async def settle(s3: Any, buckets: Iterable[str], seconds: float) -> AsyncIterator[Report]:
    """Make each bucket be there with Object Lock and versioning, and report it.

    Raises:
        NotReady: the store does not answer within `seconds`, or answers that it cannot now.
        ByHand: it lets nobody in with these keys, or a bucket has no lock and cannot be given one.
    """
    for bucket in buckets:
        yield Report(f"bucket {bucket} with Object Lock", await _patiently(s3, bucket, seconds))


async def _patiently(s3: Any, bucket: str, seconds: float) -> Outcome:
    problem: Exception | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await _settle(s3, bucket)
                except ClientError as refused:
                    if _code(refused) in _DENIED:
                        raise ByHand(
                            f"The object store refuses these keys for the bucket {bucket}: {_code(refused)}",
                            "Give keys that may make buckets in BOOTSTRAP_S3_ACCESS_KEY and BOOTSTRAP_S3_SECRET_KEY",
                        ) from refused
                    problem = refused
                except (BotoCoreError, aiohttp.ClientError, OSError) as failed:
                    problem = failed
                await asyncio.sleep(_POLL_SECONDS)
    raise NotReady(
        f"The object store does not serve the bucket {bucket}: {problem or 'no answer'}",
        "Look at its log, and at AUDIT_COLD_ENDPOINT",
    )


async def _settle(s3: Any, bucket: str) -> Outcome:
    if not await _exists(s3, bucket):
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            await s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        return Outcome.MADE
    if await _is_locked(s3, bucket):
        return Outcome.OK
    try:
        await s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        await s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    except ClientError as refused:
        if refused.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise
    if await _is_locked(s3, bucket):
        return Outcome.MENDED
    raise ByHand(
        f"The bucket {bucket} has no Object Lock, and this store cannot add it",
        "Name another bucket in AUDIT_COLD_BUCKET or AUDIT_WITNESS_BUCKET, and copy over what the old one holds",
    )


async def _exists(s3: Any, bucket: str) -> bool:
    try:
        await s3.head_bucket(Bucket=bucket)
    except ClientError as refused:
        if _code(refused) in _ABSENT:
            return False
        raise
    return True


async def _is_locked(s3: Any, bucket: str) -> bool:
    """True when objects may be locked, and no version is overwritten."""
    try:
        lock = (await s3.get_object_lock_configuration(Bucket=bucket)).get("ObjectLockConfiguration", {})
    except ClientError as refused:
        if _code(refused) in _UNLOCKED:
            return False
        raise
    versioning = await s3.get_bucket_versioning(Bucket=bucket)
    return bool(lock.get("ObjectLockEnabled") == "Enabled" and versioning.get("Status") == "Enabled")


def _code(refused: ClientError) -> str:
    return str(refused.response.get("Error", {}).get("Code", ""))
