"""What runs as long as a service runs, beside its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from prometheus_client import Counter

from shared.mongo import Mongo, is_unavailable, wait_until_available

log = structlog.get_logger()

Task = Callable[[], Awaitable[None]]

_failures = Counter("dezky_worker_failures_total", "Workers that failed and began again", ["service", "worker"])


async def prepare(mongo: Mongo, first: Sequence[Task], done: asyncio.Event) -> None:
    """Create indexes, and what else comes first, once the database is there; until then the service is not ready."""
    while not done.is_set():
        await wait_until_available(mongo)
        try:
            for step in first:
                await step()
        except Exception as error:
            if not is_unavailable(error):
                log.exception("indexes.failed")
            await asyncio.sleep(1.0)
        else:
            done.set()


async def keep_running(task: Task, prepared: asyncio.Event, service: str, mongo: Mongo) -> None:
    """Run a worker for as long as the service runs; one that fails is started again, once the database is there."""
    worker = getattr(task, "__qualname__", "task")
    failures = _failures.labels(service, worker)
    await prepared.wait()
    while True:
        try:
            await task()
        except Exception as error:
            # A failure while stopping takes the place of the cancellation: then there is no second one to wait for.
            if (current := asyncio.current_task()) is not None and current.cancelling():
                return
            if not is_unavailable(error):
                failures.inc()
                log.exception("worker.failed", worker=worker)
        await asyncio.sleep(1.0)
        await wait_until_available(mongo)
