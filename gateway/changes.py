"""The gateway's own ear: changes of people, tenants and partners, as they happen.

A live subscription without a consumer, one per gateway process. It promises nothing, so what it may have missed counts
as changed: after a connection was lost everything kept is forgotten, and while there is none, answers age faster.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
import structlog

from gateway.directory import Directory
from shared.bus import Bus, BusUnavailable
from shared.topology import BY_NAME, owner_of

log = structlog.get_logger()
_RETRY_SECONDS = 0.5


class Changes:
    """Tells the directory what has changed."""

    def __init__(self, bus: Bus, directory: Directory) -> None:
        self._bus = bus
        self._directory = directory
        self._subscribed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def live(self) -> bool:
        """Whether every change is heard at this moment."""
        return self._subscribed and self._bus.connected

    def start(self) -> None:
        """Subscribe as soon as there is a connection, and for as long as there is one."""
        self._bus.on_reconnect(self._directory.forget_all)
        self._bus.start()
        self._task = asyncio.create_task(self._subscribe(), name="changes.subscribe")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._bus.close()

    async def _subscribe(self) -> None:
        pending = list(BY_NAME["gateway"].live)
        while pending:
            await self._bus.wait_connected()
            try:
                await self._bus.listen(pending[-1], self.hear)
            except BusUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                pending.pop()
        # What was kept before the first subscription was kept without an ear.
        self._directory.forget_all()
        self._subscribed = True
        log.info("changes.live")

    async def hear(self, data: bytes) -> None:
        """Take one event; what cannot be read, or comes from a process that does not own it, is left."""
        try:
            event = orjson.loads(data)
            if owner_of(event["type"]) != event["source"]:
                log.warning("changes.foreign_source", type=event["type"], source=event["source"])
                return
            self._apply(event["data"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("changes.unreadable", reason=type(error).__name__)
            # It spoke of somebody, and we do not know of whom.
            self._directory.forget_all()

    def _apply(self, change: dict[str, Any]) -> None:
        if change.get("outcome", "success") != "success":
            return  # a refusal changes nobody
        resource = change["resource"]
        if resource["type"] in {"user", "person"}:
            self._directory.person_changed(resource["id"], change.get("version"))
            return
        scopes = [f"tenant:{resource['tenantSlug']}"] if resource.get("tenantSlug") else []
        if resource.get("partnerSlug"):
            scopes.append(f"partner:{resource['partnerSlug']}")
        if resource["type"] in {"tenant", "partner"}:
            scopes.append(f"{resource['type']}:{resource['id']}")
        self._directory.scope_changed(scopes)
