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
from nats.errors import Error as NatsError

from gateway.directory import Directory
from shared.bus import Bus, BusUnavailable
from shared.contracts.tenant import TenantUsageChanged
from shared.topology import BY_NAME, owner_of

log = structlog.get_logger()
_RETRY_SECONDS = 0.5
_CONFIRM_SECONDS = 2


class Changes:
    """Tells the directory what has changed."""

    def __init__(self, bus: Bus, directory: Directory) -> None:
        self._bus = bus
        self._directory = directory
        self._subscribed = False
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def live(self) -> bool:
        """Whether every change is heard at this moment."""
        return self._subscribed and self._bus.connected

    def start(self) -> None:
        """Subscribe as soon as there is a connection, and for as long as there is one."""
        self._bus.on_reconnect(self._lose_track)
        self._bus.start()
        self._task = asyncio.create_task(self._listen(), name="changes.listen")

    def _lose_track(self) -> None:
        self._subscribed = False
        self._directory.forget_all()
        self._lost.set()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._bus.close()

    async def _listen(self) -> None:
        wanted = list(BY_NAME["gateway"].live)
        while True:
            self._lost.clear()
            await self._bus.wait_connected()
            try:
                while wanted:
                    await self._bus.listen(wanted[-1], self.hear)
                    wanted.pop()
                await self._confirm()
            except (BusUnavailable, NatsError, OSError, TimeoutError) as error:
                log.warning("changes.not_live", reason=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not self._lost.is_set():
                # What was kept until now was kept without an ear.
                self._directory.forget_all()
                self._subscribed = True
                log.info("changes.live")
                await self._lost.wait()

    async def _confirm(self) -> None:
        """Return once the server has the subscriptions: it answers a PING only after what was sent before it.

        Without this, an event published just after the subscription would be missed, and an answer kept too long.
        Twice, because nats-py writes a PING past the subscriptions that still wait in its own buffer.
        """
        for _ in range(2):
            await self._bus._client.flush(_CONFIRM_SECONDS)

    async def hear(self, data: bytes) -> None:
        """Take one event; what cannot be read, or comes from a process that does not own it, is left."""
        try:
            event = orjson.loads(data)
            if owner_of(event["type"]) != event["source"]:
                log.warning("changes.foreign_source", type=event["type"], source=event["source"])
                return
            if event["type"] != TenantUsageChanged.type:  # it changes what nobody may do
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
