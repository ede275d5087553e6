"""How far a service is behind: what its outbox still holds, and what its consumers have not acknowledged."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Gauge

from shared.bus import Bus
from shared.measuring import Measure
from shared.outbox import PENDING, Outbox
from shared.topology import BY_NAME

_oldest = Gauge("dezky_outbox_oldest_seconds", "Age of the oldest event not yet acknowledged; 0 if none", ["source"])
_undelivered = Gauge("dezky_consumer_pending", "Events that a durable consumer has not been given", ["consumer"])
_unacknowledged = Gauge("dezky_consumer_unacknowledged", "Events given and not acknowledged", ["consumer"])


def measures(name: str, outbox: Outbox, bus: Bus) -> Sequence[Measure]:
    """Return those of the process ``name``, whose consumers the topology lists."""

    async def look_at_outbox() -> None:
        waiting = await outbox.waiting()
        PENDING.labels(name).set(waiting.count)
        _oldest.labels(name).set(waiting.oldest_seconds)

    async def look_at_consumers() -> None:
        for spec in BY_NAME[name].consumers if name in BY_NAME else ():
            backlog = await bus.backlog(spec.name)
            _undelivered.labels(spec.name).set(backlog.pending)
            _unacknowledged.labels(spec.name).set(backlog.unacknowledged)

    return [
        Measure("outbox", look_at_outbox, [PENDING, _oldest]),
        Measure("consumers", look_at_consumers, [_undelivered, _unacknowledged]),
    ]
