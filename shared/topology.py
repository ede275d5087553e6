"""Who may say what to whom on NATS, as data.

The local runner and the bootstrap job turn this table into users, permissions, streams and consumers; the
bus and the audit service read it to refuse an event whose ``source`` does not own its ``type``. A process
never creates a stream or a consumer: it has no permission to, so it cannot listen to more than its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

_NANOSECONDS = 1_000_000_000
EVENT_AGE = timedelta(days=30)
DUPLICATE_WINDOW = timedelta(minutes=10)
ACK_WAIT = timedelta(seconds=30)
STREAM_BYTES = 8 * 1024**3
BUCKET_BYTES = 1024**3
SESSION_LASTS = timedelta(hours=12)
"""After its sign-in nothing keeps a browser's session alive for longer; its bucket drops it when it is idle."""
PULL_PENDING = 4_000
"""Unacknowledged messages a consumer may hold; the back-pressure of every projection."""


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable pull consumer: its name, unique in the fleet, and the event types (patterns) it receives."""

    name: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A key-value bucket: its name, unique in the fleet, and how long an entry lives after it was last written."""

    name: str
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class Process:
    """One row: what a process owns and hears.

    Attributes:
        name: the process, and its NATS user.
        owns: the first words of the event types that it alone may publish.
        consumers: its durable consumers.
        live: type patterns that each replica may also subscribe to without a consumer.
        buckets: key-value buckets that it alone reads and writes.
        tends_dead_letters: whether it may read every dead letter, delete it and bury another one in its place.
    """

    name: str
    owns: tuple[str, ...]
    consumers: tuple[ConsumerSpec, ...] = ()
    live: tuple[str, ...] = ()
    buckets: tuple[BucketSpec, ...] = ()
    tends_dead_letters: bool = False


_ERASURES = ("user.erased.v1",)
_FORGOTTEN = tuple(f"{word}.person_forgotten.v1" for word in ("partner", "billing", "flag", "health", "audit"))
"""What everybody who hears of an erasure answers."""

PROCESSES: tuple[Process, ...] = (
    Process(
        "gateway",
        owns=("gateway", "session"),
        live=("tenant.>", "partner.>", "platform.>", "user.>"),
        # Its time to live is the idle limit of a browser's session.
        buckets=(BucketSpec("gateway-sessions", timedelta(hours=1)),),
    ),
    Process(
        "tenant",
        owns=("tenant", "platform", "user"),
        consumers=(
            ConsumerSpec("tenant-partners", ("partner.>",)),
            ConsumerSpec("tenant-prices", ("price.>",)),
            ConsumerSpec("tenant-forgotten", _FORGOTTEN),
        ),
    ),
    Process(
        "partner",
        owns=("partner",),
        consumers=(
            ConsumerSpec("partner-tenants", ("tenant.>",)),
            ConsumerSpec("partner-subscriptions", ("subscription.>",)),
            ConsumerSpec("partner-erasures", _ERASURES),
        ),
    ),
    Process(
        "billing",
        owns=("price", "subscription", "billing"),
        consumers=(ConsumerSpec("billing-tenants", ("tenant.>",)), ConsumerSpec("billing-erasures", _ERASURES)),
    ),
    Process(
        "flags",
        owns=("flag",),
        consumers=(ConsumerSpec("flags-tenants", ("tenant.>",)), ConsumerSpec("flags-erasures", _ERASURES)),
    ),
    Process(
        "health",
        owns=("health",),
        consumers=(ConsumerSpec("health-erasures", _ERASURES),),
        tends_dead_letters=True,
    ),
    Process("audit", owns=("audit",), consumers=(ConsumerSpec("audit-chain", (">",)),)),
)

BY_NAME: dict[str, Process] = {process.name: process for process in PROCESSES}
_OWNER_BY_WORD: dict[str, str] = {word: p.name for p in PROCESSES for word in p.owns}


def owner_of(event_type: str) -> str | None:
    """Return the process that alone may publish ``event_type``, or None if nobody may."""
    return _OWNER_BY_WORD.get(event_type.split(".", 1)[0])


class Topology:
    """The table under a prefix, so that tests share one server without hearing each other."""

    def __init__(self, prefix: str = "") -> None:
        self._dot = f"{prefix}." if prefix else ""
        self._dash = f"{prefix}-" if prefix else ""
        self.stream_events = f"{self._dash}EVENTS"
        self.stream_dead = f"{self._dash}DEAD_LETTERS"

    def subject(self, event_type: str) -> str:
        """Return the subject of an event type or of a pattern of types."""
        return f"{self._dot}events.{event_type}"

    def dead_subject(self, consumer: str, event_type: str) -> str:
        """Return the subject where ``consumer`` buries an event that it cannot handle."""
        return f"{self._dot}dead.{consumer}.{event_type}"

    def durable(self, consumer: str) -> str:
        """Return the consumer's name on the server."""
        return f"{self._dash}{consumer}"

    def bucket(self, name: str) -> str:
        """Return the bucket's name on the server; the stream behind it has ``KV_`` before that."""
        return f"{self._dash}{name}"

    def stream_configs(self, replicas: int = 1) -> list[dict[str, Any]]:
        """Return both streams as bodies of ``$JS.API.STREAM.CREATE``: durations in nanoseconds."""
        common = {
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas,
            "discard": "new",
            "max_bytes": STREAM_BYTES,
            "max_age": int(EVENT_AGE.total_seconds()) * _NANOSECONDS,
            "duplicate_window": int(DUPLICATE_WINDOW.total_seconds()) * _NANOSECONDS,
            "allow_direct": True,
        }
        return [
            {**common, "name": self.stream_events, "subjects": [self.subject(">")], "allow_atomic": True},
            {**common, "name": self.stream_dead, "subjects": [f"{self._dot}dead.>"]},
        ]

    def bucket_configs(self, replicas: int = 1) -> list[dict[str, Any]]:
        """Return the stream behind every bucket (ADR-8 of the NATS project) as a body of ``$JS.API.STREAM.CREATE``.

        One value is kept per key, so that what was overwritten or deleted is gone from the disk, too.
        """
        return [
            {
                "name": f"KV_{self.bucket(spec.name)}",
                "subjects": [f"$KV.{self.bucket(spec.name)}.>"],
                "retention": "limits",
                "storage": "file",
                "num_replicas": replicas,
                "discard": "new",
                "max_bytes": BUCKET_BYTES,
                "max_msgs_per_subject": 1,
                "max_age": int(spec.ttl.total_seconds()) * _NANOSECONDS,
                "duplicate_window": int(min(spec.ttl, DUPLICATE_WINDOW).total_seconds()) * _NANOSECONDS,
                "deny_delete": True,
                "allow_rollup_hdrs": True,
                "allow_direct": True,
            }
            for process in PROCESSES
            for spec in process.buckets
        ]

    def consumer_configs(self) -> list[dict[str, Any]]:
        """Return every durable consumer as a body of ``$JS.API.CONSUMER.CREATE``."""
        return [
            {
                "stream_name": self.stream_events,
                "config": {
                    "durable_name": self.durable(spec.name),
                    "name": self.durable(spec.name),
                    "ack_policy": "explicit",
                    "ack_wait": int(ACK_WAIT.total_seconds()) * _NANOSECONDS,
                    "deliver_policy": "all",
                    "filter_subjects": [self.subject(types) for types in spec.types],
                    "max_ack_pending": PULL_PENDING,
                    "max_deliver": -1,
                    "replay_policy": "instant",
                },
            }
            for process in PROCESSES
            for spec in process.consumers
        ]

    def permissions(self, process: str) -> dict[str, list[str]]:
        """Return the subjects that ``process`` may publish and subscribe to, as nats-server wants them."""
        row = BY_NAME[process]
        publish = [self.subject(f"{word}.>") for word in row.owns]
        for spec in row.consumers:
            durable = self.durable(spec.name)
            publish += [
                f"$JS.API.CONSUMER.MSG.NEXT.{self.stream_events}.{durable}",
                f"$JS.API.CONSUMER.INFO.{self.stream_events}.{durable}",
                # An acknowledgement's subject carries the stream and the consumer that it belongs to.
                f"$JS.ACK.{self.stream_events}.{durable}.>",
                f"$JS.ACK.*.*.{self.stream_events}.{durable}.>",
                f"{self._dot}dead.{spec.name}.>",
            ]
        for kept in row.buckets:
            bucket = self.bucket(kept.name)
            # Read and write, but neither delete nor reshape the stream behind it.
            publish += [
                f"$KV.{bucket}.>",
                f"$JS.API.STREAM.INFO.KV_{bucket}",
                f"$JS.API.STREAM.MSG.GET.KV_{bucket}",
                f"$JS.API.DIRECT.GET.KV_{bucket}.>",
            ]
        if row.tends_dead_letters:
            publish += [
                self.dead_subject("*", ">"),
                f"$JS.API.STREAM.INFO.{self.stream_dead}",
                f"$JS.API.STREAM.MSG.GET.{self.stream_dead}",
                f"$JS.API.STREAM.MSG.DELETE.{self.stream_dead}",
            ]
        subscribe = [f"_INBOX.{process}.>"]
        subscribe += [self.subject(types) for types in row.live]
        return {"publish": publish, "subscribe": subscribe}
