"""``docs/asyncapi.json``: the events as an AsyncAPI 3.0 document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infrastructure.docs.contracts import ENVELOPE, Documented, documented, schemas
from infrastructure.docs.discovery import ROOT
from shared.topology import Topology


def document() -> dict[str, Any]:
    """The AsyncAPI document: a channel and a message per event type, an operation per publisher and consumer."""
    events = documented()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Dezky events",
            "version": "1",
            "description": (
                "CloudEvents 1.0 on NATS JetStream. Within a version of a type fields may be added; a meaning never "
                "changes. A receiver must expect duplicates."
            ),
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {event.type: _channel(event) for event in events},
        "operations": dict(sorted(pair for event in events for pair in _operations(event))),
        "components": {
            "messages": {event.type: _message(event) for event in events},
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
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"}},
    }


def _operations(event: Documented) -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": f"#/channels/{event.type}"}
    sends = (f"{event.publisher}.sends.{event.type}", {"action": "send", "channel": channel})
    receives = [
        (f"{process}.{consumer}.receives.{event.type}", {"action": "receive", "channel": channel})
        for process, consumer in event.consumers
    ]
    return [sends, *receives]


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
        "summary": event.summary,
        "payload": {"allOf": [{"$ref": f"#/components/schemas/{ENVELOPE}"}, own]},
        "x-personal": [f"data.{path}" for path in event.personal],
    }
