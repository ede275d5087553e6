"""Messages of a stream of JetStream: read at its leader, and stored only while their subject holds what it held.

Reads do not use the direct API, which a replica that lags may answer: what was deleted a moment ago must be gone. Of
two who store after the same message one succeeds. The codes are those of nats-server's ``errors.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from shared.bus import PUBLISH_TIMEOUT, Bus, BusUnavailable

_NO_MESSAGE = 10037
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class StoredMeanwhile(Exception):
    """The subject does not hold what was expected; nothing was stored."""


async def stored(
    bus: Bus, stream: str, question: Mapping[str, Any], *, seconds: float = PUBLISH_TIMEOUT
) -> dict[str, Any] | None:
    """Return the message that a question of ``STREAM.MSG.GET`` finds, as the server answers it; None if none.

    Raises:
        BusUnavailable: no answer within so many seconds, or another than these.
    """
    subject = f"$JS.API.STREAM.MSG.GET.{stream}"
    answer = orjson.loads(await bus.request(subject, orjson.dumps(question), timeout=seconds))
    if (error := answer.get("error")) is None:
        message: dict[str, Any] = answer["message"]
        return message
    if error.get("err_code") == _NO_MESSAGE:
        return None
    raise BusUnavailable(f"{subject}: {error}")


async def store_after(
    bus: Bus, subject: str, last: int, payload: bytes, headers: Mapping[str, str], *, seconds: float = PUBLISH_TIMEOUT
) -> int:
    """Store a message if the last one of its subject has the number ``last`` (0: there is none); return its own.

    Raises:
        StoredMeanwhile: another one is the last.
        BusUnavailable: no answer within so many seconds, and the message may have been stored; or another answer.
    """
    fields = {**headers, _EXPECTED: str(last)}
    answer = orjson.loads(await bus.request(subject, payload, fields, timeout=seconds))
    if (error := answer.get("error")) is None:
        return int(answer["seq"])
    if error.get("err_code") in _WRONG_LAST_SEQUENCE:
        raise StoredMeanwhile(subject)
    raise BusUnavailable(f"{subject}: {error}")
