"""NATS JetStream: the streams, buckets and consumers of `shared.topology`, made by the administrator."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from infrastructure.bootstrap.reports import ByHand, NotReady, Outcome, Report
from shared.topology import Topology

_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.2
_NO_STREAM = 10059


async def ensure(nc: Client, topology: Topology, replicas: int = 1) -> None:
    """Make all of the topology; safe to run again. Needs an administrator's connection. See `settle`."""
    async for _ in settle(nc, topology, replicas):
        continue


async def settle(nc: Client, topology: Topology, replicas: int = 1) -> AsyncIterator[Report]:
    """Make each stream, bucket and consumer be as the topology says, and report it.

    Messages stay where they are. Consumers keep their place.

    Raises:
        ByHand: the server refuses a change, as of a stream's storage.
        nats.errors.Error: no answer within ten seconds.
    """
    for config in topology.stream_configs(replicas) + topology.bucket_configs(replicas):
        yield Report(f"stream {config['name']}", await _settle_stream(nc, config))
    present = await _consumers(nc, topology.stream_events)
    for body in topology.consumer_configs():
        name = body["config"]["durable_name"]
        found = present.get(name)
        if found is not None and _agrees(body["config"], found):
            yield Report(f"consumer {name}", Outcome.OK)
            continue
        await _ask(nc, f"CONSUMER.DURABLE.CREATE.{body['stream_name']}.{name}", body)
        yield Report(f"consumer {name}", Outcome.MADE if found is None else Outcome.MENDED)


async def _settle_stream(nc: Client, config: Mapping[str, Any]) -> Outcome:
    name = config["name"]
    found = await answer(nc, f"STREAM.INFO.{name}", {})
    if (error := found.get("error")) is None:
        if _agrees(config, found["config"]):
            return Outcome.OK
        await _ask(nc, f"STREAM.UPDATE.{name}", config)
        return Outcome.MENDED
    if error.get("err_code") != _NO_STREAM:
        raise _refusal(f"STREAM.INFO.{name}", error)
    await _ask(nc, f"STREAM.CREATE.{name}", config)
    return Outcome.MADE


async def _consumers(nc: Client, stream: str) -> dict[str, dict[str, Any]]:
    """The configuration of every consumer of a stream, by name; the server lists 256 at a time."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        page = await _ask(nc, f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        found |= {consumer["name"]: consumer["config"] for consumer in page["consumers"] or []}
        if len(found) >= page["total"] or not page["consumers"]:
            return found


def _agrees(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """True when all that is wanted is so; the server adds defaults of its own."""
    return all(found.get(name) == value for name, value in wanted.items())


async def _ask(nc: Client, call: str, body: Mapping[str, Any]) -> dict[str, Any]:
    about = await answer(nc, call, body)
    if error := about.get("error"):
        raise _refusal(call, error)
    return about


async def answer(nc: Client, call: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What JetStream answers to a call of its API, errors included. Raises nats.errors.Error: nothing, in time."""
    reply = await nc.request(f"$JS.API.{call}", json.dumps(body).encode(), timeout=_ANSWER_SECONDS)
    about: dict[str, Any] = json.loads(reply.data)
    return about


def _refusal(call: str, error: Mapping[str, Any]) -> ByHand:
    return ByHand(
        f"JetStream refuses {call}: {error.get('description', error)}",
        "If it names a setting that cannot be changed, drain and delete that stream or consumer, then run again",
    )


async def connect(url: str, seconds: float) -> Client:
    """Connect as the administrator, however long the server takes to come.

    Raises:
        NotReady: not within `seconds`.
    """
    import nats  # noqa: PLC0415 - half a second of the supervisor's start, needed by this part only

    problem: Exception | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await nats.connect(url, connect_timeout=2, allow_reconnect=False, error_cb=_ignore)
                except (NatsError, OSError) as failed:
                    problem = failed
                await asyncio.sleep(_POLL_SECONDS)
    raise NotReady(f"NATS lets nobody in: {problem or 'no answer'}", "Look at its log, and at BOOTSTRAP_NATS_URL")


async def _ignore(_error: Exception) -> None:
    """What goes wrong with an attempt is raised by the attempt."""
