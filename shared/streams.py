"""Answers of unknown length, made while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = structlog.get_logger()


class Stream(Response):
    """Sends pieces as a source makes them, the next one when the client has taken the one before.

    A client that goes away ends the source between two pieces: no call of the source is ever cancelled, since a
    cancelled call of the driver can leave its locks taken. A source that fails breaks the answer off without its
    last chunk (RFC 9112 §7.1), so no client takes a part for the whole.
    """

    def __init__(self, pieces: AsyncGenerator[bytes], headers: Mapping[str, str]) -> None:
        self._pieces = pieces
        self.status_code = 200
        self.background = None
        self.init_headers(headers)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Take the fields as they are: there is no body yet of which to say the length."""
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        gone = asyncio.create_task(_gone(receive), name="stream.gone")
        try:
            async with contextlib.aclosing(self._pieces) as pieces:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for piece in pieces:
                    if gone.done():
                        log.info("stream.client_gone")
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
