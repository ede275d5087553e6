"""The object store's promises, against a server that lies, and against SeaweedFS."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infrastructure.bootstrap.parts import s3 as s3_part
from infrastructure.bootstrap.reports import ByHand
from infrastructure.bootstrap.settings import BootstrapSettings
from services.audit.cold.object_store import Access, ObjectStore, StoreUnavailable
from tests.audit.cold.fake_s3 import FakeS3
from tests.bootstrap.running import outcomes, steps
from tests.support.weed import WeedServer


async def test_what_is_stored_is_never_overwritten(store: ObjectStore, s3: FakeS3) -> None:
    assert await store.put_once("a/1", b"first")
    assert not await store.put_once("a/1", b"second")
    assert (await store.get("a/1"), await store.get("a/2")) == (b"first", None)
    assert await store.put_once("a/3", b"")
    assert await store.get("a/3") == b""
    assert await store.keys("a/", after="a/1") == ["a/3"]


@pytest.mark.parametrize("fault", ["500", "unstored", "timeout", "lost"])
async def test_a_put_without_an_answer_is_settled_by_reading_back(store: ObjectStore, s3: FakeS3, fault: str) -> None:
    s3.fail("put", 1, fault)
    stored = fault in {"timeout", "lost"}
    if fault == "500":
        with pytest.raises(StoreUnavailable):
            await store.put_once("a", b"body")
    else:
        assert await store.put_once("a", b"body")
    assert ("a" in s3.objects) == stored
    s3.objects["b"] = b"of somebody else"
    s3.fail("put", 1, "lost")
    assert not await store.put_once("b", b"ours")


@pytest.mark.parametrize("fault", ["500", "timeout"])
async def test_a_read_that_fails_is_no_absence(store: ObjectStore, s3: FakeS3, fault: str) -> None:
    s3.objects["a"] = b"body"
    s3.fail("get", 1, fault)
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    s3.fail("list", 1, fault)
    with pytest.raises(StoreUnavailable):
        await store.keys("a")


@pytest.mark.parametrize(("call", "fault"), [("", ""), ("complete", "lost"), ("part", "500"), ("begin", "500")])
async def test_a_large_file_goes_in_parts_and_comes_back(
    store: ObjectStore, s3: FakeS3, tmp_path: Path, call: str, fault: str
) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    body = os.urandom(200 * 1024)
    sent.write_bytes(body)
    if fault == "500":
        s3.fail(call, 1, fault)
        with pytest.raises(StoreUnavailable):
            await store.put_file_once("large", sent)
        assert (s3.objects, s3.uploads) == ({}, {})
    elif fault:
        s3.fail(call, 1, fault)
    assert await store.put_file_once("large", sent)
    assert s3.calls["part"] >= 4
    other = tmp_path / "other"
    other.write_bytes(body[:-1] + b"x")
    assert not await store.put_file_once("large", other)
    assert await store.get_to_file("large", back, 1 << 20) == hashlib.sha256(body).hexdigest()
    assert back.read_bytes() == body
    assert await store.get_to_file("none", back, 1 << 20) is None


async def test_a_file_in_parts_never_replaces_what_came_to_its_key_meanwhile(
    store: ObjectStore, s3: FakeS3, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(100 * 1024))
    s3.fail("complete", 1, "taken")
    assert not await store.put_file_once("large", sent)
    assert s3.objects == {"large": b"of somebody else"}
    s3.objects.clear()
    s3.fail("complete", 1, "unstored")
    assert await store.put_file_once("large", sent)  # as far as the store says: who must know reads it back
    assert await store.get("large") is None


async def test_a_refused_connection_is_unavailable(store: ObjectStore, s3: FakeS3) -> None:
    await s3.__aexit__()
    with pytest.raises(StoreUnavailable):
        await store.put_once("a", b"body")


async def test_seaweedfs_keeps_what_it_was_given_and_lets_nobody_remove_it(weed: WeedServer, tmp_path: Path) -> None:
    access = Access(weed.url, "local", weed.access_key, weed.secret_key, encrypted=True)
    store = ObjectStore(access, await weed.bucket(), part_bytes=5 * 1024 * 1024)
    until = datetime.now(UTC) + timedelta(days=1)
    assert await store.put_once("small", b"first", retain_until=until)
    assert not await store.put_once("small", b"second", retain_until=until)
    large, back = tmp_path / "large", tmp_path / "back"
    large.write_bytes(os.urandom(11 * 1024 * 1024))
    assert await store.put_file_once("large", large, retain_until=until)
    assert await store.get_to_file("large", back, 1 << 30) == hashlib.sha256(large.read_bytes()).hexdigest()
    assert await store.get("small") == b"first"
    assert await store.keys("", after="large") == ["small"]
    async with weed.client() as s3:
        for key in ("small", "large"):
            head = await s3.head_object(Bucket=await weed.bucket(), Key=key)
            assert (head["ServerSideEncryption"], head["ObjectLockMode"]) == ("AES256", "COMPLIANCE")
            assert abs(head["ObjectLockRetainUntilDate"] - until) < timedelta(seconds=1)
            with pytest.raises(ClientError, match="AccessDenied"):
                await s3.delete_object(Bucket=await weed.bucket(), Key=key, VersionId=head["VersionId"])
        wrong = base64.b64encode(bytes(32)).decode()
        bucket = await weed.bucket()
        with pytest.raises(ClientError):
            await s3.put_object(Bucket=bucket, Key="wrong", Body=b"x", ChecksumSHA256=wrong)
    await store.close()


async def test_the_bootstrap_job_makes_locked_buckets_once_and_locks_one_that_is_not(weed: WeedServer) -> None:
    await weed.bucket()
    environment = {
        "AUDIT_COLD_ENDPOINT": weed.url,
        "AUDIT_COLD_ACCESS_KEY": weed.access_key,
        "AUDIT_COLD_SECRET_KEY": weed.secret_key,
        "AUDIT_COLD_BUCKET": "made-archive",
        "AUDIT_WITNESS_BUCKET": "made-witness",
        "BOOTSTRAP_WAIT_SECONDS": "20",
    }
    wanted = BootstrapSettings.model_validate(environment)
    # Another process that died after its first step changes nothing for the next.
    assert outcomes(await steps(s3_part(wanted), stop_after=1)) == ["made"]
    assert outcomes(await steps(s3_part(wanted))) == ["ok", "made"]
    assert outcomes(await steps(s3_part(wanted))) == ["ok", "ok"]
    async with weed.client() as s3:
        for bucket in ("made-archive", "made-witness"):
            lock = await s3.get_object_lock_configuration(Bucket=bucket)
            assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
            assert (await s3.get_bucket_versioning(Bucket=bucket))["Status"] == "Enabled"
        await s3.create_bucket(Bucket="plain")
    plain = wanted.model_copy(update={"archive_bucket": "plain"})
    assert outcomes(await steps(s3_part(plain))) == ["mended", "ok"]
    assert outcomes(await steps(s3_part(plain))) == ["ok", "ok"]
    wrong = BootstrapSettings.model_validate(environment | {"AUDIT_COLD_SECRET_KEY": "a-wrong-key"})
    with pytest.raises(ByHand, match="refuses these keys") as refused:
        await steps(s3_part(wrong))
    assert "a-wrong-key" not in str(refused.value)
