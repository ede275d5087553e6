"""A small platform for each test."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from infrastructure.local.servers.nats import NatsServer
from tests.backup.stand import Stand
from tests.support.servers import TestDatabase


@pytest.fixture
async def stand(
    database: TestDatabase, nats_server: NatsServer, nats_prefix: str, drop_database: Callable[[str], None]
) -> AsyncIterator[Stand]:
    made = Stand(database, nats_server, nats_prefix)
    yield made
    await made.bootstrap()  # the prefix's own fixture deletes what it made
    for name in made.databases.values():
        drop_database(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where backups go: with the list of the erased beside them."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "backups")
    return tmp_path / "backups"
