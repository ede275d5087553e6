"""The stream of dead letters, one message at a time.

What is deleted is overwritten on the disk: the server does so unless it is told ``no_erase``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.bus import Bus, BusUnavailable
from shared.stored import store_after, stored

_ID = "Nats-Msg-Id"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: its place in the stream, where it was buried, and the event as it came, byte for byte."""

    seq: int
    subject: str
    headers: Mapping[str, str]
    payload: bytes

    @property
    def copy_id(self) -> str:
        """The message id of what takes its place."""
        return f"{self.headers.get(_ID, '')}:without:{self.seq}"

    @property
    def id(self) -> str | None:
        return self.headers.get(_ID)


class DeadLetters:
    """The stream, for the one process that tends it.

    Every method raises ``BusUnavailable`` when there is no answer in time; a write may then have happened.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = bus.topology.stream_dead
        self._any = bus.topology.dead_subject("*", ">")

    async def last(self) -> int:
        """Return the number of the last letter that was ever stored; 0 before the first."""
        answer = await self._ask("INFO", {})
        return int(answer["state"]["last_seq"])

    async def after(self, seq: int, subject: str | None = None) -> Letter | None:
        """Return the first letter behind ``seq``, of one subject where that is given; None if there is none."""
        return await self._letter({"seq": seq + 1, "next_by_subj": subject or self._any})

    async def newest(self, subject: str) -> int:
        """Return the number of the last letter that lies under ``subject``; 0 if none does."""
        found = await self._letter({"last_by_subj": subject})
        return 0 if found is None else found.seq

    async def replace(self, letter: Letter, payload: bytes, newest: int) -> None:
        """Store ``payload`` with the subject and the headers of ``letter``, which stays.

        Raises:
            StoredMeanwhile: the last letter under the subject is not the one with the number ``newest``.
        """
        kept = {name: value for name, value in letter.headers.items() if not name.startswith("Nats-")}
        await store_after(self._bus, letter.subject, newest, payload, {**kept, _ID: letter.copy_id})

    async def remove(self, seq: int) -> None:
        """Delete a letter for good; nothing happens if it is not there."""
        try:
            await self._ask("MSG.DELETE", {"seq": seq})
        except BusUnavailable:
            if await self._letter({"seq": seq}) is not None:
                raise

    async def _letter(self, question: dict[str, Any]) -> Letter | None:
        if (message := await stored(self._bus, self._stream, question)) is None:
            return None
        headers = _headers(base64.b64decode(message.get("hdrs", "")))
        return Letter(message["seq"], message["subject"], headers, base64.b64decode(message.get("data", "")))

    async def _ask(self, verb: str, question: dict[str, Any]) -> dict[str, Any]:
        subject = f"$JS.API.STREAM.{verb}.{self._stream}"
        answer: dict[str, Any] = orjson.loads(await self._bus.request(subject, orjson.dumps(question)))
        if (error := answer.get("error")) is not None:
            raise BusUnavailable(f"{subject}: {error}")
        return answer


def _headers(raw: bytes) -> dict[str, str]:
    """The fields behind the line ``NATS/1.0`` (ADR-4 of the NATS project)."""
    fields = (line.partition(":") for line in raw.decode(errors="replace").split("\r\n")[1:] if line)
    return {name: value.strip() for name, _, value in fields}
