"""``docs/asyncapi.json``: the events as an AsyncAPI 3.0 document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infrastructure.docs.contracts import ENVELOPE, Documented, documented, schemas
from infrastructure.docs.discovery import ROOT
from shared.topology import Topology

_ABOUT = """\
Every change of the platform, as CloudEvents 1.0 in JSON (structured mode) on NATS JetStream.

- **Delivery**: at least once. The same event has the same `id`; a receiver keeps the ids that it has applied, or \
applies states by their `version`. An event is published after the transaction that it tells of has committed, never \
before.
- **Order**: per `subject`, by `data.version`; per source, by `sourceseq`. Nothing is promised across subjects. After \
a failure an older event can come behind a newer one: pass over a version that is not newer than the one that you \
hold.
- **Where**: stream `EVENTS`, the type `T` on the subject `events.T`, kept for 30 days. A receiver has a durable pull \
consumer of its own, acknowledges after its effect has committed, and may begin at the oldest event that is kept.
- **Failure**: what a receiver of the platform cannot apply in 5 attempts goes to `dead.<consumer>.<type>` on the \
stream `DEAD_LETTERS`, byte for byte, with the reason in its headers.
- **Versions**: within a version of a type members may be added and meanings never change; ignore what you do not \
know. What would change a meaning is a new type (`….v2`), and both are published until nobody receives the old one.
- **Trust**: only the named publisher may publish a type; refuse an event whose `source` is not that publisher, or \
which came under another subject.
- **Personal values** are at the paths that `x-personal` names; whoever stores them must be able to forget them when \
`user.erased.v1` comes.
"""
_HEADERS = {
    "type": "object",
    "required": ["Nats-Msg-Id", "Content-Type"],
    "properties": {
        "Nats-Msg-Id": {"type": "string", "description": "The event's `id`: JetStream drops a repetition of it."},
        "Content-Type": {"type": "string", "const": "application/cloudevents+json"},
        "Nats-Batch-Id": {
            "type": "string",
            "description": "Means nothing to receivers.",
        },
        "Nats-Batch-Sequence": {"type": "string"},
        "Nats-Batch-Commit": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    """The AsyncAPI document: a channel and a message per event type, an operation per publisher and consumer."""
    events = documented()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Dezky events",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
            "tags": [{"name": name} for name in sorted({event.publisher for event in events})],
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "fleet": {
                "host": "{host}:4222",
                "protocol": "nats",
                "description": "The platform's own NATS; every process has a user of its own.",
                "variables": {"host": {"default": "localhost", "description": "Where NATS listens."}},
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            }
        },
        "channels": {event.type: _channel(event) for event in events},
        "operations": dict(sorted(pair for event in events for pair in _operations(event))),
        "components": {
            "securitySchemes": {"user": {"type": "userPassword", "description": "A NATS user per process."}},
            "messages": {event.type: _message(event) for event in events},
            "messageTraits": {
                "cloudevent": {"headers": _HEADERS, "contentType": "application/cloudevents+json"},
            },
            "schemas": schemas(),
        },
    }


def render() -> dict[Path, str]:
    """The file, by its path."""
    text = json.dumps(document(), indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    return {ROOT / "docs" / "asyncapi.json": text}


def _channel(event: Documented) -> dict[str, Any]:
    return {
        "address": Topology().subject(event.type),
        "title": event.type,
        "description": event.summary,
        "servers": [{"$ref": "#/servers/fleet"}],
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"}},
    }


def _operations(event: Documented) -> list[tuple[str, dict[str, Any]]]:
    sends = (
        f"{event.publisher}.sends.{event.type}",
        _operation(event, "send", f"Published by {event.publisher}, and by nobody else."),
    )
    receives = [
        (
            f"{process}.{consumer}.receives.{event.type}",
            _operation(event, "receive", f"Received by {process} through its durable consumer `{consumer}`."),
        )
        for process, consumer in event.consumers
    ]
    hears = [
        (
            f"{process}.hears.{event.type}",
            _operation(event, "receive", f"Heard by every replica of {process} as it passes, without a promise."),
        )
        for process in event.listeners
    ]
    return [sends, *receives, *hears]


def _operation(event: Documented, action: str, summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{event.type}"},
        "messages": [{"$ref": f"#/channels/{event.type}/messages/{event.type}"}],
    }


def _message(event: Documented) -> dict[str, Any]:
    own = {
        "type": "object",
        "properties": {
            "type": {"const": event.type},
            "source": {"const": event.publisher},
            "data": {"$ref": f"#/components/schemas/{event.schema}"},
        },
    }
    return {
        "name": event.type,
        "title": event.type,
        "summary": event.summary,
        "tags": [{"name": event.publisher}],
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"allOf": [{"$ref": f"#/components/schemas/{ENVELOPE}"}, own]},
        "examples": [{"name": event.type, "headers": _headers(event), "payload": event.example}],
        "x-personal": [f"data.{path}" for path in event.personal],
    }


def _headers(event: Documented) -> dict[str, str]:
    return {"Nats-Msg-Id": str(event.example["id"]), "Content-Type": "application/cloudevents+json"}
