"""``docs/events.md``: the events for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infrastructure.docs import asyncapi
from infrastructure.docs.contracts import ENVELOPE, Documented, documented, schemas, target_of
from infrastructure.docs.discovery import ROOT
from shared.contracts import Event

_COMMON = tuple(field.alias or name for name, field in Event.model_fields.items())
_HEADER = """\
# Events

<!-- Made from shared/contracts by `python -m infrastructure.docs events`. Edit the contracts, then make it anew. -->

Every change is an event, committed together with the state that it tells of (`docs/adr/0002-outbox-and-inbox.md`).
Events are CloudEvents 1.0 in JSON on the JetStream stream `EVENTS`, an event of type `T` on the subject `events.T`;
the stream keeps them for 30 days. `docs/asyncapi.json` says the same to machines.

A type is past tense and versioned. Within a version fields may be added; a meaning never changes. A receiver must
expect duplicates and must ignore members that it does not know. Only the named publisher may publish a type; a
receiver refuses an event whose `source` is not that publisher.

| attribute | meaning |
| --- | --- |
| `id` | UUIDv7, the same however often the event is delivered |
| `source` | the publishing process |
| `type`, `subject` | what happened, and to which resource: `tenants/acme` |
| `time` | RFC 3339 UTC with milliseconds |
| `sourceseq` | a gapless number per source; 0 from the gateway, which has no database to count in |
| `traceparent`, `requestid` | of the request that caused it, if one did |
| `data` | who and what, as below |

In every `data`: `actor`, `action` (the type without its version), `outcome` (`success`, `denied`, `failure`),
`resource`, `version` (of the aggregate after the change; null where none changed), and the fields named with the event.
`actor.email` and `actor.ip` are personal in every event; other personal fields are named with the event. The audit log
stores commitments in their place (`docs/audit-format.md`).
"""


def render() -> dict[Path, str]:
    """The page and the AsyncAPI document, by their paths."""
    return {ROOT / "docs" / "events.md": _page()} | asyncapi.render()


def _page() -> str:
    events, shapes = documented(), schemas()
    parts = [_HEADER]
    for publisher in sorted({event.publisher for event in events}):
        parts.append(f"## Published by {publisher}\n")
        parts += [_event(event, shapes) for event in events if event.publisher == publisher]
    parts.append("## Shapes\n\nOf a change, a field that did not change is absent.\n")
    parts += [_shape(name, shapes) for name in _named(events, shapes)]
    return "\n".join(parts)


def _event(event: Documented, shapes: dict[str, Any]) -> str:
    lines = [f"### `{event.type}`\n", f"{event.summary}\n"]
    received = ", ".join(f"{process} (`{consumer}`)" for process, consumer in event.consumers)
    heard = f"; heard live by {', '.join(event.listeners)}" if event.listeners else ""
    lines.append(f"Received by {received or 'nobody'}{heard}.\n")
    own = {k: v for k, v in shapes[event.schema].get("properties", {}).items() if k not in _COMMON}
    if own:
        lines.append(_table(own, shapes))
    personal = [path for path in event.personal if not path.startswith("actor.")]
    if personal:
        lines.append(f"Personal: {', '.join(f'`{path}`' for path in personal)}.\n")
    return "\n".join(lines)


def _named(events: Iterable[Documented], shapes: dict[str, Any]) -> list[str]:
    """Shapes with a table of their own: neither an event, nor the envelope, nor a pair of before and after."""
    apart = {ENVELOPE, *(event.schema for event in events)}
    return [name for name in shapes if name not in apart and not _is_change(shapes[name])]


def _is_change(shape: dict[str, Any]) -> bool:
    return str(shape.get("title", "")).startswith("Change[")


def _shape(name: str, shapes: dict[str, Any]) -> str:
    return f"### {name}\n\n" + _table(shapes[name].get("properties", {}), shapes)


def _table(properties: dict[str, Any], shapes: dict[str, Any]) -> str:
    rows = [f"| `{name}` | {_type(schema, shapes)} |" for name, schema in properties.items()]
    return "\n".join(["| field | type |", "| --- | --- |", *rows]) + "\n"


def _alternatives(parts: list[dict[str, Any]], shapes: dict[str, Any]) -> str:
    for part in parts:
        if "$ref" in part and _is_change(changed := shapes[target_of(part)]):
            before = changed["properties"]["before"]["anyOf"]
            values = [value for value in before if value.get("type") != "null"]
            return f"{_alternatives(values, shapes)}; before and after"
    return " or ".join(_type(part, shapes) for part in parts)


def _type(schema: dict[str, Any], shapes: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in schema:
        return f"[{target_of(schema)}](#{target_of(schema).lower()})"
    if "anyOf" in schema:
        return _alternatives(schema["anyOf"], shapes)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), shapes)}"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"map to {_type(values, shapes)}"
    return str(schema.get("type", "any"))
