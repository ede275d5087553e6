"""A connection that is never closed fails a test, unless the MongoDB driver forgot it."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest
from pymongo.network_layer import PyMongoProtocol

pytestmark = pytest.mark.unit


async def _forget(protocol: type[asyncio.BaseProtocol]) -> tuple[list[warnings.WarningMessage], bytes]:
    """Leave a connection to the garbage collector; return what was warned of, and what the other end reads."""
    ours, theirs = socket.socketpair()
    with theirs, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(protocol, sock=ours)
        transport.pause_reading()  # else the loop itself holds on to it
        del transport, _, ours
        gc.collect()
        theirs.settimeout(1)
        return [warning for warning in seen if "unclosed transport" in str(warning.message)], theirs.recv(1)


async def test_a_forgotten_connection_is_warned_of_and_closed() -> None:
    seen, end = await _forget(asyncio.Protocol)
    assert (len(seen), end) == (1, b"")


async def test_one_that_the_driver_forgot_is_closed_and_that_is_all() -> None:
    seen, end = await _forget(PyMongoProtocol)
    assert (len(seen), end) == (0, b"")
