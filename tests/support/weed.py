"""A real SeaweedFS for the few tests that need one; it takes seconds to start."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.local.servers import binaries
from tests.support.waiting import eventually

READY_SECONDS = 60.0


class WeedServer:
    """One process with S3 in front, started at once and awaited by the first who asks for the bucket."""

    access_key = "access-key-of-tests"
    secret_key = "secret-key-of-tests"

    def __init__(self, directory: Path, ports: list[int]) -> None:
        master, volume, filer, s3 = ports
        self.url = f"http://127.0.0.1:{s3}"
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        config = directory / "s3.json"
        config.write_text(json.dumps({"identities": [{"name": "t", "credentials": keys, "actions": actions}]}))
        command = [
            *(str(binaries.weed_binary()), "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-filer", "-s3", f"-s3.port={s3}", f"-s3.config={config}", f"-master.port={master}"),
            *(f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=0", "-master.volumeSizeLimitMB=64"),
            *("-master.electionTimeout=1s", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={"WEED_S3_SSE_KEK": "ab" * 32})
        self._ready = False

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        config = Config(s3={"addressing_style": "path"}, connect_timeout=1, read_timeout=5, retries={"max_attempts": 0})
        session = aioboto3.Session(self.access_key, self.secret_key, region_name="local")
        async with session.client("s3", endpoint_url=self.url, config=config) as s3:
            yield s3

    async def bucket(self) -> str:
        """A bucket with Object Lock, once writes work."""
        if not self._ready:
            async with self.client() as s3:
                await eventually(lambda: self._writes(s3), seconds=READY_SECONDS)
            self._ready = True
        return "locked"

    async def _writes(self, s3: Any) -> bool:
        try:
            with contextlib.suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
                await s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
            await s3.put_object(Bucket="locked", Key="a-probe", Body=b"ready")
        except (BotoCoreError, ClientError, aiohttp.ClientError, OSError):
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
