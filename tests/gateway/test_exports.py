"""Exports through the gateway: as long as they need, if nobody has said how long they are."""

from __future__ import annotations

import asyncio

import pytest

from gateway.routes import Route
from tests.gateway.running import Seen, request, running

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@pytest.mark.parametrize("kind", [b"application/x-ndjson", b"text/csv; charset=utf-8; header=present"])
async def test_an_export_arrives_piece_by_piece_and_outlives_the_deadline(kind: bytes) -> None:
    swept, pieces = asyncio.Event(), (b"first\n", b"last\n")

    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
        writer.write(b"%x\r\n%b\r\n" % (len(pieces[0]), pieces[0]))
        await swept.wait()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(pieces[1]), pieces[1]))

    async with running(routes=[Route("/api/audit", "audit", timeout=0.1)]) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/audit?format=x"))
        assert (await client.read_head()).field(b"content-type") == kind
        assert await client.chunk() == pieces[0]
        await asyncio.sleep(0.3)  # well past the deadline, so that a sweep would have ended it
        swept.set()
        assert await client.chunk() == pieces[1]
        assert await client.chunk() == b""


async def test_a_csv_whose_length_is_known_keeps_to_the_deadline() -> None:
    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ncontent-length: 100\r\n\r\nfirst")
        await asyncio.sleep(60)

    async with running(routes=[Route("/api/audit", "audit", timeout=0.1)]) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/audit"))
        assert (await client.read_head()).status == 200
        assert await asyncio.wait_for(client.reader.read(), 10) == b"first"
