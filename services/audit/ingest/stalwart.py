"""Stalwart's webhook: batches of events, signed over the raw body.

`X-Signature` is base64 (RFC 4648 section 4) of HMAC-SHA-256 under the hook's key; there is no time in it. A batch that
is not acknowledged is sent again until it is five minutes old, perhaps with more events behind, and always with new
ids: therefore an event is told by its content. Source: version 0.16.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import prometheus_client

from services.audit.facts import Unparseable
from services.audit.ingest.intake import Intake
from services.audit.ingest.models import Arrival, QueueFull, Record
from services.audit.ingest.reading import parse_object
from shared.clock import Clock
from shared.errors import MalformedRequest, Unauthenticated, Unavailable

_forged = prometheus_client.Counter("dezky_audit_ingest_forged_total", "Webhooks without a right signature", ["source"])


class BadSignature(Unauthenticated):
    code, title = "bad_signature", "The signature is missing or wrong"


class IngestPaused(Unavailable):
    code, title = "ingest_paused", "What arrived before has to be chained first"


class StalwartWebhook:
    """Takes deliveries in. Without a key none is believed."""

    def __init__(self, key: str, intake: Intake, clock: Clock) -> None:
        self._key = key.encode()
        self._intake = intake
        self._clock = clock

    async def deliver(self, body: bytes, signatures: Sequence[str]) -> None:
        """Store the events of a batch; returns once they are durable. A repeated batch changes nothing.

        Raises BadSignature (nothing is stored), MalformedRequest (counted), IngestPaused, and the driver's errors.
        """
        if not self._is_signed(body, signatures):
            _forged.labels("stalwart").inc()
            raise BadSignature("sign the raw body with the key of the webhook, in X-Signature")
        records = self._records(body)
        if records is None:
            await self._take(Arrival("stalwart", skipped={"not_json": 1}))
            raise MalformedRequest('the body must be {"events": […]}')
        await self._take(Arrival("stalwart", records))

    def _is_signed(self, body: bytes, signatures: Sequence[str]) -> bool:
        if not self._key or len(signatures) != 1:
            return False
        expected = base64.b64encode(hmac.digest(self._key, body, sha256))
        return hmac.compare_digest(expected, signatures[0].encode())

    def _records(self, body: bytes) -> list[Record] | None:
        try:
            events = parse_object(body).get("events")
        except Unparseable:
            return None
        return _records_of(events, self._clock) if isinstance(events, list) else None

    async def _take(self, arrival: Arrival) -> None:
        try:
            await self._intake.take(arrival)
        except QueueFull as full:
            raise IngestPaused(full.reason, retry_after=10) from full


def _records_of(events: list[Any], clock: Clock) -> list[Record]:
    seen: Counter[str] = Counter()
    records = []
    for event in events:
        content = _content(event)
        # Two events of one batch that are equal are two; a batch that comes again numbers them alike.
        number = seen[content]
        seen[content] += 1
        records.append(Record(f"stalwart:{content}-{number}", "stalwart", json.dumps(event).encode(), clock.now()))
    return records


def _content(event: Any) -> str:
    """What an event is told by: all but its id, which is new each time."""
    told = {name: value for name, value in event.items() if name != "id"} if isinstance(event, dict) else event
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
