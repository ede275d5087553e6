"""The worker that tells the identity provider what was recorded for it, in every replica, until it has heard."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from prometheus_client import Counter

from services.tenant.people.tasks.models import HOLD, Task, TaskKind, TaskLost, pause
from services.tenant.people.tasks.repository import TaskRepository
from shared.errors import DomainError, RateLimited, Unavailable
from shared.mongo import Mongo, is_unavailable, wait_until_available

log = structlog.get_logger()

POLL_SECONDS = 0.5
ATTEMPT_SECONDS = HOLD.total_seconds() * 2 / 3
"""An attempt ends well before another process may take its task."""

_attempts = Counter("dezky_people_tasks_total", "Attempts to tell the identity provider", ["kind", "result"])

Handler = Callable[[Task], Awaitable[None]]


class TaskWorker:
    """Takes due tasks of the kinds that it has handlers for, one after the other.

    A task whose attempt fails waits longer each time, with jitter.
    """

    def __init__(self, mongo: Mongo, tasks: TaskRepository, handlers: Mapping[TaskKind, Handler]) -> None:
        self._mongo = mongo
        self._tasks = tasks
        self._handlers = handlers

    async def run(self) -> None:
        """Work until cancelled; the database and Authentik may be away."""
        while True:
            try:
                task = await self._tasks.take_due(list(self._handlers))
                if task is None:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    await self._attempt(task)
            except Exception as error:
                # The loop must survive; a task that was held comes back when its hold ends.
                if not is_unavailable(error):
                    log.exception("people.worker_failed")
                await asyncio.sleep(POLL_SECONDS)
                await wait_until_available(self._mongo)

    async def _attempt(self, task: Task) -> None:
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await self._handlers[task.kind](task)
        except TaskLost:
            _attempts.labels(task.kind, "lost").inc()
        except DomainError as error:
            await self._postpone(task, error.code, _least(error))
        except TimeoutError:
            await self._postpone(task, "authentik_slow", timedelta(0))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("people.task_failed", kind=task.kind, person=task.person)
            await self._postpone(task, "internal_error", timedelta(0))
        else:
            _attempts.labels(task.kind, "done").inc()
            log.info("people.task_done", kind=task.kind, person=task.person, attempts=task.attempts)

    async def _postpone(self, task: Task, reason: str, least: timedelta) -> None:
        _attempts.labels(task.kind, "postponed").inc()
        delay = max(pause(task.attempts, random.random()), least)  # noqa: S311 - jitter
        log.warning("people.task_postponed", kind=task.kind, person=task.person, reason=reason, seconds=delay.seconds)
        await self._tasks.postpone(task, reason, delay)


def _least(error: DomainError) -> timedelta:
    return timedelta(seconds=error.retry_after if isinstance(error, RateLimited | Unavailable) else 0)
