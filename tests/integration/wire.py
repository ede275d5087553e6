"""A TCP relay in front of mongod that loses what a network can lose, at the byte that a test names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Literal

Loss = Literal["request", "reply"]


@contextlib.contextmanager
def _closed(writer: asyncio.StreamWriter) -> Iterator[None]:
    # At once and without waiting: what is still to be sent is lost, too.
    try:
        yield
    finally:
        writer.transport.abort()


class LossyWire:
    """Forwards to ``port``; the next message that contains ``marker`` is lost, or its reply is, and both ends close."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._marker = b""
        self._loss: Loss = "reply"
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        self.port = 0

    def lose(self, loss: Loss, marker: bytes) -> None:
        self._loss, self._marker = loss, marker

    async def __aenter__(self) -> LossyWire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with _closed(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            # Refused while the server is away: then the client loses its connection, too.
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            with _closed(up_writer):
                await self._relay(reader, writer, up_reader, up_writer)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        down = asyncio.create_task(self._copy(up_reader, writer))
        try:
            while data := await reader.read(1 << 16):
                if self._marker and self._marker in data:
                    self._marker = b""
                    self.lost += 1
                    down.cancel()
                    await asyncio.gather(down, return_exceptions=True)
                    if self._loss == "reply":
                        up_writer.write(data)
                        await up_reader.read(1)  # it was answered, and nobody will know
                    break
                up_writer.write(data)
                await up_writer.drain()
        finally:
            down.cancel()
            await asyncio.gather(down, return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()
