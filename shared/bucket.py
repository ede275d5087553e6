"""A key-value bucket of JetStream, as ADR-8 of the NATS project lays it out, read at its leader.

Every write names the revision that it expects, so of two writers who read the same value one succeeds. Reads do not
use the direct API, which a replica that lags may answer: what was deleted a moment ago must be gone.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from shared.bus import Bus, BusUnavailable

DEADLINE_SECONDS = 2.0
_NO_MESSAGE = 10037
_WRONG_REVISION = frozenset({10071, 10164})
_EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence"
_OPERATION = "KV-Operation"


class KeyChanged(Exception):
    """The key is not at the expected revision; nothing was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its revision."""

    key: str
    value: bytes
    revision: int


class Bucket:
    """One bucket of ``shared.topology``. Keys are of ``A-Za-z0-9_-`` in words that dots join.

    Every method raises ``BusUnavailable`` when there is no answer within two seconds; a write may then have happened.
    """

    def __init__(self, bus: Bus, name: str) -> None:
        stored = bus.topology.bucket(name)
        self._bus = bus
        self._prefix = f"$KV.{stored}."
        self._read = f"$JS.API.STREAM.MSG.GET.KV_{stored}"

    async def get(self, key: str) -> Entry | None:
        """Return the value of ``key``, or None when it is absent, deleted or too old."""
        message = await self._message({"last_by_subj": self._prefix + key})
        return self._entry(message) if message is not None else None

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that must never have been written; return its revision.

        Raises:
            KeyChanged: it has been.
        """
        return await self._write(key, value, 0)

    async def replace(self, entry: Entry, value: bytes) -> int:
        """Write a new value over ``entry``; return the new revision.

        Raises:
            KeyChanged: it is not the current one.
        """
        return await self._write(entry.key, value, entry.revision)

    async def delete(self, entry: Entry) -> None:
        """Delete ``entry``; its value leaves the disk, a mark without a value stays as long as a value would.

        Raises:
            KeyChanged: it is not the current one.
        """
        await self._write(entry.key, b"", entry.revision, {_OPERATION: "DEL"})

    async def find(self, pattern: str) -> AsyncIterator[Entry]:
        """Yield the entries whose keys match ``pattern`` (``*`` for one word), one request each, oldest first."""
        sequence = 1
        question = {"next_by_subj": self._prefix + pattern}
        while (message := await self._message({"seq": sequence, **question})) is not None:
            sequence = message["seq"] + 1
            if (entry := self._entry(message)) is not None:
                yield entry

    def _entry(self, message: dict[str, Any]) -> Entry | None:
        if f"{_OPERATION}:".encode() in base64.b64decode(message.get("hdrs", "")):
            return None
        key = message["subject"].removeprefix(self._prefix)
        return Entry(key, base64.b64decode(message.get("data", "")), message["seq"])

    async def _message(self, question: dict[str, Any]) -> dict[str, Any] | None:
        answer = orjson.loads(await self._bus.request(self._read, orjson.dumps(question), timeout=DEADLINE_SECONDS))
        if (error := answer.get("error")) is None:
            message: dict[str, Any] = answer["message"]
            return message
        if error.get("err_code") == _NO_MESSAGE:
            return None
        raise BusUnavailable(f"{self._read}: {error}")

    async def _write(self, key: str, value: bytes, expected: int, headers: dict[str, str] | None = None) -> int:
        fields = {**(headers or {}), _EXPECTED_REVISION: str(expected)}
        answer = orjson.loads(await self._bus.request(self._prefix + key, value, fields, timeout=DEADLINE_SECONDS))
        if (error := answer.get("error")) is None:
            return int(answer["seq"])
        if error.get("err_code") in _WRONG_REVISION:
            raise KeyChanged(key)
        raise BusUnavailable(f"{self._prefix}: {error}")
