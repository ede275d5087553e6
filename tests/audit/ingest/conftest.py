"""Fixtures of ingestion: its queue on a real mongod under the audit service's own user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.audit.chain import ChainWriter
from services.audit.ingest.intake import Intake
from services.audit.ingest.outflow import Outflow
from services.audit.ingest.repository import INDEXES, IngestRepository
from shared.mongo import Database, Mongo
from shared.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def queue(audit_mongo: Mongo) -> IngestRepository:
    await audit_mongo.ensure_indexes(INDEXES)
    return IngestRepository(audit_mongo.db)


@pytest.fixture
def intake(audit_mongo: Mongo, queue: IngestRepository, clock: ManualClock) -> Intake:
    return Intake(audit_mongo.transactions, queue, clock)


@pytest.fixture
def outflow(queue: IngestRepository, writer: ChainWriter) -> Outflow:
    return Outflow(queue, writer)


@pytest.fixture
def chained(root_db: Database, outflow: Outflow) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
    """Drain the queue; returns the chain."""

    async def drained() -> list[dict[str, Any]]:
        while await root_db["ingested"].count_documents({}):
            await outflow.drain()
        return await root_db["entries"].find().sort("_id", 1).to_list()

    return drained
