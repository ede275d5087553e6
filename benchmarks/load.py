"""The load generator: kept connections on uvloop, one request at a time on each, every answer compared.

Our own and not ``wrk``, which a bare machine does not have, nor ``autocannon``, which would make every figure depend on
Node: requests are rendered before the clock starts, an answer costs one search for the end of its head and one
comparison of its body. Straight at the trivial service, with which it then shares a core, it does some 25,000 to 70,000
requests a second; the share of its core that it used is printed beside every figure, and well below one it was the
subject that was measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

CONNECTIONS = 32


@dataclass
class Tally:
    """What one run saw. ``wrong`` counts answers with status 200 and another body than expected."""

    seconds: float = 0.0
    answered: int = 0
    not_2xx: int = 0
    wrong: int = 0
    broken: int = 0
    latencies: list[float] = field(default_factory=list)
    subject_cpu: float = 0.0
    generator_cpu: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether every answer was the expected one."""
        return self.answered > 0 and not (self.not_2xx or self.wrong or self.broken)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.answered / self.subject_cpu if self.subject_cpu else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._held = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or not self._whole(data, end + 4):
            self._held = data
            return
        self._held = b""
        self._run.take(data[9:12], data[end + 4 :], time.perf_counter() - self._sent)
        if self._run.on:
            self._next()
        else:
            self._transport.close()

    def _whole(self, data: bytes, start: int) -> bool:
        head = data[:start].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise ValueError("an answer without Content-Length cannot be compared")
        return len(data) - start >= int(head[at + 17 : head.index(b"\r\n", at + 2)])

    def connection_lost(self, _error: Exception | None) -> None:
        self._run.left()


class _Run:
    def __init__(self, requests: Sequence[bytes], expected: bytes | None, connections: int) -> None:
        self.requests = cycle(requests)
        self.on = True
        self.tally = Tally()
        self._expected = expected
        self._open = connections
        self.gone = asyncio.get_running_loop().create_future()

    def take(self, status: bytes, body: bytes, seconds: float) -> None:
        tally = self.tally
        if not self.on:
            return
        tally.answered += 1
        tally.latencies.append(seconds)
        if status[:1] != b"2":
            tally.not_2xx += 1
        elif self._expected is not None and body != self._expected:
            tally.wrong += 1

    def left(self) -> None:
        self._open -= 1
        if self.on:
            self.tally.broken += 1
        if self._open == 0 and not self.gone.done():
            self.gone.set_result(None)


async def fire(
    port: int,
    requests: Sequence[bytes],
    *,
    seconds: float,
    expected: bytes | None = None,
    cpu_seconds: Callable[[], float] = lambda: 0.0,
    connections: int = CONNECTIONS,
) -> Tally:
    """Send ``requests`` round and round for ``seconds`` and return what came back."""
    loop = asyncio.get_running_loop()
    run = _Run(requests, expected, connections)
    began, own, subject = time.perf_counter(), time.process_time(), cpu_seconds()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    run.on = False
    tally = run.tally
    tally.seconds = time.perf_counter() - began
    tally.generator_cpu = time.process_time() - own
    tally.subject_cpu = cpu_seconds() - subject
    async with asyncio.timeout(10):
        await run.gone
    return tally


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    finally:
        writer.close()
    return int(head[9:12]), body


def get(path: str, *fields: str) -> bytes:
    """Return a GET request's bytes."""
    lines = [f"GET {path} HTTP/1.1", "Host: api.dezky.example", "Accept: application/json", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, body: bytes, *fields: str) -> bytes:
    """Return a POST request's bytes; ``body`` is JSON."""
    length = f"Content-Length: {len(body)}"
    lines = [f"POST {path} HTTP/1.1", "Host: api.dezky.example", "Content-Type: application/json", length, *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
