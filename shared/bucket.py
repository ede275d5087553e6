"""A key-value bucket of JetStream, as ADR-8 of the NATS project lays it out, read at its leader.

Every write names the revision that it expects, so of two writers who read the same value one succeeds.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from shared.bus import Bus
from shared.stored import StoredMeanwhile, store_after, stored

DEADLINE_SECONDS = 2.0
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
        bucket = bus.topology.bucket(name)
        self._bus = bus
        self._prefix = f"$KV.{bucket}."
        self._stream = f"KV_{bucket}"

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
        return await stored(self._bus, self._stream, question, seconds=DEADLINE_SECONDS)

    async def _write(self, key: str, value: bytes, expected: int, headers: dict[str, str] | None = None) -> int:
        subject = self._prefix + key
        try:
            return await store_after(self._bus, subject, expected, value, headers or {}, seconds=DEADLINE_SECONDS)
        except StoredMeanwhile as moved:
            raise KeyChanged(key) from moved
