"""JetStream: streams by the server's own snapshots, consumers by how far they have acknowledged.

Snapshots come in chunks that are acknowledged one by one (nats-server, `STREAM.SNAPSHOT` and `STREAM.RESTORE`). The
server writes the positions of consumers into a snapshot after the messages: beside writers they are then ahead of what
the snapshot holds, and a restored consumer would pass over what comes at those numbers. So positions are asked for
before, left out of the snapshot, and set by `CONSUMER.RESET`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from infrastructure.backup.deployment import Deployment
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import Draft
from infrastructure.backup.manifest import StreamCopy
from infrastructure.bootstrap.streams import answer
from shared.topology import Topology

EVENTS, DEAD_LETTERS = "events", "dead_letters"
_CHUNK_SECONDS = 30.0
# The server unpacks and reads the whole stream before it answers.
_RESTORED_SECONDS = 3_600.0
_CHUNK_BYTES = 256 * 1024
_WINDOW_BYTES = 4 * 1024 * 1024
_NO_STREAM, _NO_CONSUMER = 10059, 10014
_WHOLE = {None, "204"}


@contextlib.asynccontextmanager
async def connected(deployment: Deployment) -> AsyncIterator[Client]:
    """A connection of the administrator. Raises Refused when nobody answers."""
    try:
        client = await nats.connect(
            deployment.nats_url, connect_timeout=5, allow_reconnect=False, error_cb=_say_nothing, name="dezky-backup"
        )
    except (NatsError, OSError) as error:
        raise Refused(f"NATS does not answer: {error}", "Start it, and look at BACKUP_NATS_URL") from error
    try:
        yield client
    finally:
        await client.close()


async def _say_nothing(_error: Exception) -> None:
    """What goes wrong with a call is raised by the call."""


def names(topology: Topology) -> dict[str, str]:
    """What is copied: kind → stream. Buckets are not (ADR 24)."""
    return {EVENTS: topology.stream_events, DEAD_LETTERS: topology.stream_dead}


async def copy(client: Client, topology: Topology, draft: Draft) -> list[StreamCopy]:
    """Write both streams into the draft.

    Raises:
        Refused: a stream is missing, or the server broke a snapshot off. nats.errors.Error.
    """
    acknowledged = await _positions(client, topology)
    copies = []
    for kind, stream in names(topology).items():
        with draft.file(f"jetstream/{kind}.snapshot") as file:
            about = await _snapshot(client, stream, file.write)
        copies.append(
            StreamCopy(
                kind=kind,
                config=about["config"],
                state=about["state"],
                data=file.stored,
                acknowledged=acknowledged if kind == EVENTS else {},
            )
        )
    return copies


async def _positions(client: Client, topology: Topology) -> dict[str, int]:
    """Consumer, by its name without prefix → up to where it has acknowledged everything; 0 if it is not there."""
    stream, found = topology.stream_events, {}
    for name, durable in _durables(topology).items():
        about = await answer(client, f"CONSUMER.INFO.{stream}.{durable}", {})
        code = about.get("error", {}).get("err_code")
        if code not in {None, _NO_CONSUMER}:
            raise _refusal(f"consumer {durable}", about)
        found[name] = int(about["ack_floor"]["stream_seq"]) if code is None else 0
    return found


def _durables(topology: Topology) -> dict[str, str]:
    prefix = topology.durable("")
    durables = (body["config"]["durable_name"] for body in topology.consumer_configs())
    return {durable.removeprefix(prefix): durable for durable in durables}


async def _snapshot(client: Client, stream: str, write: Callable[[bytes], None]) -> dict[str, Any]:
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox)
    try:
        body = {
            "deliver_subject": inbox,
            "no_consumers": True,
            "chunk_size": _CHUNK_BYTES,
            "window_size": _WINDOW_BYTES,
        }
        about = await answer(client, f"STREAM.SNAPSHOT.{stream}", body)
        if "error" in about:
            raise _refusal(f"stream {stream}", about)
        while (chunk := await chunks.next_msg(timeout=_CHUNK_SECONDS)).data:
            write(chunk.data)
            if chunk.reply:
                await client.publish(chunk.reply, b"")
        status = (chunk.headers or {}).get("Status")
        if status not in _WHOLE:
            raise Refused(f"NATS broke the snapshot of {stream} off, with status {status}", "Try again")
        return about
    finally:
        await chunks.unsubscribe()


async def require_empty(client: Client, topology: Topology) -> None:
    """Raise Refused when a stream or bucket has ever held anything."""
    for stream in [*names(topology).values(), *(body["name"] for body in topology.bucket_configs())]:
        about = await _info(client, stream)
        if about is not None and int(about["state"]["last_seq"]) > 0:
            raise Refused(
                f"JetStream is not empty: {stream} has held messages",
                "A restore replaces nothing: give it a server with an empty store, or delete its streams",
            )


async def restore(client: Client, deployment: Deployment, copies: list[StreamCopy], folder: Path) -> list[str]:
    """Restore both streams and put consumers where they were; return those that begin at the start instead.

    Streams that have never held anything give way. Consumers begin at the start where the server cannot move them
    (`CONSUMER.RESET` came with 2.14): they hear a month of events again and know them by their inboxes.

    Raises:
        Refused: the server takes a snapshot for damaged, or refuses it. nats.errors.Error.
    """
    topology = deployment.topology
    for copied in copies:
        stream = names(topology)[copied.kind]
        if await _info(client, stream) is not None:
            await _must(client, f"STREAM.DELETE.{stream}", {}, f"stream {stream}")
        subjects = next(each["subjects"] for each in topology.stream_configs() if each["name"] == stream)
        config = copied.config | {"name": stream, "subjects": subjects, "num_replicas": deployment.replicas}
        await _restore_stream(client, config, copied.state, folder / copied.data.path)
    return await _restore_consumers(client, topology, {copied.kind: copied for copied in copies}[EVENTS].acknowledged)


async def _restore_stream(client: Client, config: Mapping[str, Any], state: Mapping[str, Any], data: Path) -> None:
    what = f"stream {config['name']}"
    about = await _must(client, f"STREAM.RESTORE.{config['name']}", {"config": config, "state": state}, what)
    subject = about["deliver_subject"]
    with data.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            refused = (await client.request(subject, chunk, timeout=_CHUNK_SECONDS)).data
            if refused:
                raise _refusal(what, json.loads(refused))
    done = json.loads((await client.request(subject, b"", timeout=_RESTORED_SECONDS)).data)
    if "error" in done:
        raise _refusal(what, done)


async def _restore_consumers(client: Client, topology: Topology, acknowledged: Mapping[str, int]) -> list[str]:
    bodies = {body["config"]["durable_name"]: body for body in topology.consumer_configs()}
    from_the_start = []
    for name, durable in _durables(topology).items():
        if (position := acknowledged.get(name, 0)) == 0:
            continue
        place = f"{topology.stream_events}.{durable}"
        await _must(client, f"CONSUMER.DURABLE.CREATE.{place}", bodies[durable], f"consumer {durable}")
        try:
            await _must(client, f"CONSUMER.RESET.{place}", {"seq": position + 1}, f"consumer {durable}")
        except (NoRespondersError, NatsTimeout):  # unknown calls are not answered
            from_the_start.append(name)
    return from_the_start


async def _info(client: Client, stream: str) -> dict[str, Any] | None:
    about = await answer(client, f"STREAM.INFO.{stream}", {})
    if about.get("error", {}).get("err_code") == _NO_STREAM:
        return None
    if "error" in about:
        raise _refusal(f"stream {stream}", about)
    return about


async def _must(client: Client, call: str, body: Mapping[str, Any], what: str) -> dict[str, Any]:
    about = await answer(client, call, body)
    if "error" in about:
        raise _refusal(what, about)
    return about


def _refusal(what: str, about: Mapping[str, Any]) -> Refused:
    error = about["error"]
    return Refused(
        f"NATS refuses {what}: {error.get('description', error)}",
        "Look at its log, and whether the bootstrap job has made the streams",
    )
