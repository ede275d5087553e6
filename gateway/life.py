"""Start and end of the gateway's process, as the ASGI lifespan protocol tells of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from gateway.exchange import Receive, Scope, Send
from gateway.token_errors import KeysUnavailable

_WARM_AGAIN_SECONDS = 1.0

log = structlog.get_logger("gateway")


class Part(Protocol):
    """Something that lives as long as the process."""

    def start(self) -> None:
        """Begin; returns at once and waits for nothing."""
        ...

    async def close(self) -> None:
        """End, and leave nothing behind."""
        ...


class Life:
    """Starts the parts in order and closes them in reverse. Nothing that is away keeps the gateway from starting."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for part in self._parts:
            part.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for part in reversed(self._parts):
            try:
                await part.close()
            except Exception:
                # The parts before it must be closed, too.
                log.exception("gateway.close_failed", part=type(part).__name__)
        await send({"type": "lifespan.shutdown.complete"})


class KeyWarmer:
    """Fetches the issuers' keys before the first token needs them; until then the gateway is not ready."""

    def __init__(self, warm: Callable[[], Awaitable[None]]) -> None:
        self._warm = warm
        self._task: asyncio.Task[None] | None = None
        self._done = False

    def check(self) -> str:
        """Return ``ok`` once every issuer has answered."""
        return "ok" if self._done else "waiting for an issuer's keys"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="keys.warm")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while not self._done:
            try:
                await self._warm()
            except KeysUnavailable as error:
                log.warning("keys.away", reason=str(error))
                await asyncio.sleep(_WARM_AGAIN_SECONDS)
            else:
                self._done = True
