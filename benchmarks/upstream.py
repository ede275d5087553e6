"""The trivial service behind both gateways, and the issuer of their keys: ``python -m benchmarks.upstream``.

It reads no more of a request than where its head ends and what its path begins with, and answers from memory.
Arguments: port, file of the answer to ``GET``, file of the JWKS, file of the answer to ``POST`` (a person).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import uvloop

_END = b"\r\n\r\n"


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class _Service(asyncio.Protocol):
    def __init__(self, document: bytes, jwks: bytes, person: bytes) -> None:
        self._document = document
        self._jwks = jwks
        self._person = person
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        end = data.find(_END)
        if end < 0:
            self._held = data
            return
        if data.startswith(b"POST"):
            head = data[:end].lower()
            at = head.index(b"content-length:") + 15
            if len(data) - end - len(_END) < int(head[at:].split(b"\r\n", 1)[0]):
                self._held = data
                return
        self._held = b""
        answer = self._document if data.startswith(b"GET /api/") else self._jwks
        self._transport.write(self._person if data.startswith(b"POST") else answer)


async def _serve(port: int, document: bytes, jwks: bytes, person: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Service(document, jwks, person), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), *(_answer(Path(file).read_bytes()) for file in sys.argv[2:5])))
