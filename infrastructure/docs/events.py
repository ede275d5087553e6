"""``docs/events.md``: the events for people."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from infrastructure.docs import asyncapi
from infrastructure.docs.contracts import ENVELOPE, Documented, documented, schemas, target_of
from infrastructure.docs.discovery import ROOT
from shared.contracts import Event

_SHOWN = "tenant.suspended.v1"
_COMMON = tuple(field.alias or name for name, field in Event.model_fields.items())
_HEADER = """\
# Events

<!-- Made from shared/contracts by `python -m infrastructure.docs events`. Edit the contracts, then make it anew. -->

Every change is an event, committed together with the state that it tells of (`docs/adr/0002-outbox-and-inbox.md`).
Events are CloudEvents 1.0 in JSON on the JetStream stream `EVENTS`, an event of type `T` on the subject `events.T`;
the stream keeps them for 30 days. `docs/asyncapi.json` says the same to machines.

A type is past tense and versioned. Within a version fields may be added; a meaning never changes. What would change a
meaning is a new type (`….v2`), and both are published until nobody receives the old one. A receiver ignores members
that it does not know. Only the named publisher may publish a type; a receiver refuses an event whose `source` is not
that publisher, or which came under another subject.

## What a receiver can rely on

- **At least once.** An event that was committed is published, however often a process is killed; it may come again,
  with the same `id`. Keep the ids that you have applied, in the transaction of their effect.
- **After the fact.** It comes after the transaction that it tells of has committed, mostly within milliseconds; while
  NATS is away it waits in the outbox of its service, and nothing is lost.
- **In order per resource.** Events of one `subject` are published in the order of `data.version`; those of one source
  in the order of `sourceseq`, without a gap. Between subjects there is no order. After a failure an older event can
  arrive behind a newer one: pass over a version that is not newer than the one that you hold. `data.state` is the
  whole public state, so the newest version is enough; who needs every step applies only the version after its own and
  fetches what is missing.
- **By pulling.** A receiver has a durable pull consumer of its own (`shared/topology.py` gives it and the
  permission), acknowledges after its effect has committed, and is never asked to hurry: nothing expires but the 30
  days.
- **Poison is put aside.** An event that fails five times while the receiver's own database is healthy goes to the
  stream `DEAD_LETTERS` under `dead.<consumer>.<type>`, byte for byte, with `Dezky-Consumer` and `Dezky-Reason` in its
  headers. Once somebody was erased, the letters by or about them are replaced by copies without what is personal.

Headers on NATS: `Nats-Msg-Id` (the event's `id`, by which JetStream drops a repetition within ten minutes) and
`Content-Type: application/cloudevents+json`; others belong to the way of publishing and mean nothing to a receiver.

## The envelope

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
`resource`, `version` (of the aggregate after the change; null where none changed), and the fields named with the
event. `actor.email` and `actor.ip` are personal in every event; other personal fields are named with the event. The
audit log stores commitments in their place (`docs/audit-format.md`). Whoever stores personal values must be able to
forget them when `user.erased.v1` comes.

`docs/asyncapi.json` has an example of every event. One of them, whole:

```json
{example}
```

## Who publishes and who receives

{matrix}
"""


def render() -> dict[Path, str]:
    """The page and the AsyncAPI document, by their paths."""
    return {ROOT / "docs" / "events.md": _page()} | asyncapi.render()


def _page() -> str:
    events, shapes = documented(), schemas()
    shown = next(event for event in events if event.type == _SHOWN)
    header = _HEADER.replace("{example}", json.dumps(shown.example, indent=2, ensure_ascii=False))
    parts = [header.replace("{matrix}", _matrix(events))]
    for publisher in sorted({event.publisher for event in events}):
        parts.append(f"## Published by {publisher}\n")
        parts += [_event(event, shapes) for event in events if event.publisher == publisher]
    parts.append("## Shapes\n\nOf a change, a field that did not change is absent.\n")
    parts += [_shape(name, shapes) for name in _named(events, shapes)]
    return "\n".join(parts)


def _matrix(events: Iterable[Documented]) -> str:
    """The events by their first word: publisher, and who receives at least one of them."""
    rows = ["| events | published by | received by |", "| --- | --- | --- |"]
    words: dict[str, list[Documented]] = {}
    for event in events:
        words.setdefault(event.type.partition(".")[0], []).append(event)
    for word, members in words.items():
        pairs = dict.fromkeys(pair for event in members for pair in event.consumers)
        received = [f"{process} (`{consumer}`)" for process, consumer in pairs]
        heard = [f"{name} (live)" for name in dict.fromkeys(name for event in members for name in event.listeners)]
        rows.append(f"| `{word}.*` ({len(members)}) | {members[0].publisher} | {', '.join([*received, *heard])} |")
    return "\n".join(rows)


def _event(event: Documented, shapes: dict[str, Any]) -> str:
    lines = [f"### `{event.type}`\n", f"{event.summary}\n"]
    if event.about:
        lines.append(f"{_prose(event.about)}\n")
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


def _prose(docstring: str) -> str:
    """A contract's docstring as Markdown: its paragraph, and what its fields mean as a list."""
    text, _, fields = docstring.partition("Attributes:")
    lines = [" ".join(text.split()), ""] if text.strip() else []
    for line in textwrap.dedent(fields).splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            name, _, meaning = line.strip().partition(": ")
            names = ", ".join(f"`{to_camel(word.strip())}`" for word in name.split(","))
            lines.append(f"- {names}: {meaning}")
    # What is None in Python is null on the wire.
    return re.sub(r"\bNone\b", "null", "\n".join(lines)).replace("``", "`").strip()


def _named(events: Iterable[Documented], shapes: dict[str, Any]) -> list[str]:
    """Shapes with a table of their own: neither an event, nor the envelope, nor a pair of before and after."""
    apart = {ENVELOPE, *(event.schema for event in events)}
    return [name for name in shapes if name not in apart and not _is_change(shapes[name])]


def _is_change(shape: dict[str, Any]) -> bool:
    return str(shape.get("title", "")).startswith("Change[")


def _shape(name: str, shapes: dict[str, Any]) -> str:
    about = shapes[name].get("description", "")
    said = f"{_prose(about)}\n\n" if about else ""
    return f"### {name}\n\n{said}" + _table(shapes[name].get("properties", {}), shapes)


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
