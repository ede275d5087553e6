"""NATS JetStream: a connection that never gives up, acknowledged publishing, and pulling by durable consumer.

Publishing goes in atomic batches (ADR-50 of the NATS project: server 2.12 and later, stream with
``allow_atomic``), because a synced stream syncs once per batch. A batch that holds an event already stored
is refused whole and is then published singly, where each duplicate is recognised by its ``Nats-Msg-Id``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from prometheus_client import Counter, Gauge

from shared.ids import new_id
from shared.topology import Topology

log = structlog.get_logger()

MAX_BATCH = 500
PUBLISH_TIMEOUT = 5.0
PULL_EXPIRES = timedelta(seconds=5)
_DUPLICATE_IN_BATCH = 10201
_OVERDUE_SECONDS = 2.0

_connected = Gauge("dezky_nats_connected", "1 while the connection to NATS stands", ["process"])
_lost = Counter("dezky_nats_disconnections_total", "Connections to NATS that were lost", ["process"])


class BusUnavailable(Exception):
    """NATS is away, or its stream refuses for now; nothing is known to be stored."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to store: its subject, its id (for de-duplication) and its bytes."""

    subject: str
    id: str
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a durable consumer received, to be acknowledged after its effect has committed."""

    subject: str
    data: bytes
    headers: dict[str, str]
    _bus: Bus
    _reply: str

    async def ack(self) -> None:
        """Say that it is done. Lost with the connection: then it comes again, and the inbox knows it."""
        await self._bus.send(self._reply, b"+ACK")

    async def nak(self, delay: timedelta = timedelta(0)) -> None:
        """Ask for it again after ``delay``."""
        nanoseconds = int(delay.total_seconds() * 1e9)
        body = b"-NAK " + orjson.dumps({"delay": nanoseconds}) if nanoseconds else b"-NAK"
        await self._bus.send(self._reply, body)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events of a durable consumer: ``pending`` were not given to it yet, ``unacknowledged`` were."""

    pending: int
    unacknowledged: int


class Bus:
    """One process's connection, under its own user and its own inbox prefix."""

    def __init__(self, url: str, process: str, topology: Topology) -> None:
        self.topology = topology
        self.process = process
        self._url = url
        self._client = Client()
        self._connecting: asyncio.Task[None] | None = None
        self._on_reconnect: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return bool(self._client.is_connected)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after every reconnection: what was missed meanwhile is unknown."""
        self._on_reconnect.append(callback)

    def start(self) -> None:
        """Begin to connect, for as long as it takes; returns at once."""
        if self._connecting is None:
            _connected.labels(self.process).set(0)
            _lost.labels(self.process)
            self._connecting = asyncio.create_task(self._connect(), name="bus.connect")

    async def wait_connected(self) -> None:
        """Return once connected."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])  # the first time there is something to wait for
        while not self.connected:  # noqa: ASYNC110 - of a reconnection the client tells nobody beforehand
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Stop connecting and close; nothing is flushed, because everything that matters was acknowledged."""
        if self._connecting is None:
            return
        self._connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._connecting
        with contextlib.suppress(NatsError, OSError):
            await self._client.close()

    async def _connect(self) -> None:
        async def disconnected() -> None:
            _connected.labels(self.process).set(0)
            _lost.labels(self.process).inc()
            log.warning("nats.disconnected")

        async def reconnected() -> None:
            _connected.labels(self.process).set(1)
            log.info("nats.reconnected")
            for callback in self._on_reconnect:
                callback()

        async def failed(error: Exception) -> None:
            log.debug("nats.error", error=repr(error))

        await self._client.connect(
            self._url,
            name=self.process,
            inbox_prefix=f"_INBOX.{self.process}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # slept on, so a fraction works
            connect_timeout=2,
            ping_interval=10,
            max_outstanding_pings=2,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            error_cb=failed,
        )
        _connected.labels(self.process).set(1)
        log.info("nats.connected")

    async def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Publish without an acknowledgement.

        Raises:
            BusUnavailable: there is no connection; nothing is buffered for later.
        """
        await self._send(subject, payload, reply=reply)

    async def _send(self, subject: str, payload: bytes, **more: Any) -> None:
        if not self.connected:
            raise BusUnavailable("NATS is away")
        try:
            await self._client.publish(subject, payload, **more)
        except (NatsError, OSError) as error:
            raise BusUnavailable(str(error)) from error

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Store ``messages`` in order; returns once JetStream has acknowledged every one of them.

        Raises:
            BusUnavailable: not all are known to be stored. Publishing the same again is safe.
        """
        for start in range(0, len(messages), MAX_BATCH):
            chunk = messages[start : start + MAX_BATCH]
            if len(chunk) == 1 or not await self._publish_atomically(chunk):
                for message in chunk:
                    await self._publish_one(message)

    async def _publish_one(self, message: Outgoing) -> None:
        headers = {**message.headers, "Nats-Msg-Id": message.id}
        reply = await self.request(message.subject, message.payload, headers)
        if error := _error_of(reply):
            raise BusUnavailable(f"{message.subject}: {error}")

    async def _publish_atomically(self, chunk: Sequence[Outgoing]) -> bool:
        """Return False if the batch holds a duplicate and must go singly."""
        batch = new_id()
        last = len(chunk)
        for number, message in enumerate(chunk, start=1):
            headers = {
                **message.headers,
                "Nats-Msg-Id": message.id,
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(number),
            }
            if number == last:
                headers["Nats-Batch-Commit"] = "1"
            if number in {1, last}:
                error = _error_of(await self.request(message.subject, message.payload, headers))
                if error and error.get("err_code") == _DUPLICATE_IN_BATCH:
                    return False
                if error:
                    raise BusUnavailable(f"{message.subject}: {error}")
            else:
                await self._send(message.subject, message.payload, headers=headers)
        return True

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, *, timeout: float = PUBLISH_TIMEOUT
    ) -> bytes:
        """Return the answer to one request, which comes within ``timeout`` seconds.

        Raises:
            BusUnavailable: no answer; the effect of the request is unknown.
        """
        if not self.connected:
            raise BusUnavailable("NATS is away")
        try:
            reply = await self._client.request(subject, payload, timeout=timeout, headers=headers)
        except (NatsError, NatsTimeout, TimeoutError, OSError) as error:
            raise BusUnavailable(f"{subject}: {error!r}") from error
        return bytes(reply.data)

    async def listen(self, types: str, receive: Callable[[bytes], Awaitable[None]]) -> None:
        """Hear events of a pattern of types as they pass, without a consumer and without a promise."""

        async def on_message(message: Msg) -> None:
            await receive(message.data)

        await self._client.subscribe(self.topology.subject(types), cb=on_message)

    async def subscribe_inbox(self, inbox: str, on_message: Callable[[Msg], Awaitable[None]]) -> Any:
        """Subscribe to an inbox of this process; used by ``Puller``."""
        return await self._client.subscribe(inbox, cb=on_message)

    async def behind(self, consumer: str) -> int:
        """Return how many events one of this process's durable consumers has not acknowledged yet.

        Raises:
            BusUnavailable: NATS is away, or knows no such consumer.
        """
        backlog = await self.backlog(consumer)
        return backlog.pending + backlog.unacknowledged

    async def backlog(self, consumer: str) -> Backlog:
        """Return how far one of this process's durable consumers is behind.

        Raises:
            BusUnavailable: NATS is away, or knows no such consumer.
        """
        topology = self.topology
        subject = f"$JS.API.CONSUMER.INFO.{topology.stream_events}.{topology.durable(consumer)}"
        reply = await self.request(subject, b"")
        if error := _error_of(reply):
            raise BusUnavailable(f"{consumer}: {error}")
        about: dict[str, Any] = orjson.loads(reply)
        return Backlog(int(about["num_pending"]), int(about["num_ack_pending"]))

    def puller(self, consumer: str) -> Puller:
        """Return the pulling end of one of this process's durable consumers."""
        return Puller(self, consumer)


def _error_of(reply: bytes) -> dict[str, Any] | None:
    if not reply:  # how the server accepts the first message of a batch
        return None
    document = orjson.loads(reply)
    error: dict[str, Any] | None = document.get("error")
    return error


class Puller:
    """Pulls for one durable consumer with at most one request open.

    The subscription lives as long as the puller, so that a message which arrives after its request expired is
    handled like any other instead of being lost until its redelivery.
    """

    def __init__(self, bus: Bus, consumer: str) -> None:
        self._bus = bus
        self._durable = bus.topology.durable(consumer)
        self._inbox = f"_INBOX.{bus.process}.{new_id().replace('-', '')}"
        self._arrived: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._subscription: Any = None
        self._request = 0
        self._open_until = 0.0
        self._open_count = 0
        bus.on_reconnect(self._forget_request)

    async def fetch(self, most: int, timeout: float) -> list[Delivery]:
        """Return what has arrived, at most ``most``, as soon as there is anything; empty after ``timeout`` s.

        Raises:
            BusUnavailable: there is no connection.
        """
        if self._subscription is None:
            await self._bus.wait_connected()
            self._subscription = await self._bus.subscribe_inbox(f"{self._inbox}.*", self._on_message)
        if not self._arrived:
            self._wake.clear()
            await self._ask(most)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        taken = [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
        if len(taken) < most and self._open_count == 0 and taken:
            # Ahead of need: what has been taken is handled even if this cannot be asked now.
            with contextlib.suppress(BusUnavailable):
                await self._ask(most)
        return taken

    async def close(self) -> None:
        """Stop receiving. What was received and not acknowledged comes again to whoever pulls next."""
        if self._subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._subscription.unsubscribe()

    async def _ask(self, most: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._open_count > 0 and now < self._open_until:
            return
        self._request += 1
        self._open_count = most
        self._open_until = now + PULL_EXPIRES.total_seconds() + _OVERDUE_SECONDS
        body = {"batch": most, "expires": int(PULL_EXPIRES.total_seconds() * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._bus.topology.stream_events}.{self._durable}"
        try:
            await self._bus.send(subject, orjson.dumps(body), reply=f"{self._inbox}.{self._request}")
        except BusUnavailable:
            self._open_count = 0
            raise

    def _forget_request(self) -> None:
        self._open_count = 0
        self._wake.set()

    async def _on_message(self, message: Msg) -> None:
        headers = dict(message.headers or {})
        if message.subject.startswith(self._inbox):  # a status of a request, no event
            if message.subject == f"{self._inbox}.{self._request}" and headers.get("Status") != "100":
                self._open_count = 0
                if headers.get("Status") not in {"404", "408"}:
                    log.warning("nats.pull_refused", consumer=self._durable, status=headers)
            return
        self._open_count = max(0, self._open_count - 1)
        self._arrived.append(Delivery(message.subject, message.data, headers, self._bus, message.reply))
        self._wake.set()
