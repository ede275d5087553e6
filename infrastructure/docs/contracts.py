"""The event types as documents see them: who publishes each, who receives it, and its JSON Schema."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from infrastructure.docs.examples import example_of
from shared.contracts import CloudEvent, Event, contracts, personal_paths
from shared.topology import PROCESSES, owner_of

ENVELOPE = "CloudEvent"
_SCHEMAS = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Documented:
    """One event type.

    Attributes:
        publisher: the one process that may publish it.
        consumers: durable consumers that receive it, as (process, consumer).
        listeners: processes that may also hear it as it passes.
        schema: name of its ``data`` in ``schemas()``.
        personal: where its personal values are.
        about: what its contract says beyond the summary.
        example: one such event, as it is on the wire.
    """

    type: str
    summary: str
    publisher: str
    consumers: tuple[tuple[str, str], ...]
    listeners: tuple[str, ...]
    schema: str
    personal: tuple[str, ...]
    about: str
    example: dict[str, Any]


@cache
def documented() -> list[Documented]:
    """Every event type whose publisher is part of the fleet, by publisher and type."""
    references, _ = _generated()
    found = []
    for contract in contracts():
        publisher = owner_of(contract.type)
        if publisher is None:  # a service that the topology does not know cannot publish
            continue
        found.append(
            Documented(
                type=contract.type,
                summary=contract.summary,
                publisher=publisher,
                consumers=tuple(
                    (process.name, spec.name)
                    for process in PROCESSES
                    for spec in process.consumers
                    if any(matches(pattern, contract.type) for pattern in spec.types)
                ),
                listeners=tuple(
                    process.name
                    for process in PROCESSES
                    if any(matches(pattern, contract.type) for pattern in process.live)
                ),
                schema=references[contract],
                personal=tuple(".".join(path) for path in personal_paths(contract)),
                about=inspect.getdoc(contract) or "" if contract.__doc__ else "",
                example=example_of(contract),
            )
        )
    return sorted(found, key=lambda event: (event.publisher, event.type))


def schemas() -> dict[str, Any]:
    """JSON Schema 2020-12 of the envelope and of every part of the documented events, by name."""
    _, definitions = _generated()
    needed = {ENVELOPE}
    waiting = [event.schema for event in documented()]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += sorted(references_in(definitions[name]))
    return {name: definitions[name] for name in sorted(needed)}


def references_in(schema: Any) -> set[str]:
    """Names of the schemas that ``schema`` refers to directly."""
    if isinstance(schema, dict):
        own = {target_of(schema)} if "$ref" in schema else set()
        return own.union(*(references_in(part) for part in schema.values()))
    if isinstance(schema, list):
        return set().union(*(references_in(part) for part in schema))
    return set()


def target_of(schema: dict[str, Any]) -> str:
    """The name that a schema with ``$ref`` refers to."""
    return str(schema["$ref"]).removeprefix(_SCHEMAS)


def matches(pattern: str, event_type: str) -> bool:
    """Whether a pattern of types covers a type, as NATS matches subjects: ``*`` is one word, a last ``>`` the rest."""
    wanted, words = pattern.split("."), event_type.split(".")
    if wanted[-1] == ">":
        wanted, words = wanted[:-1], words[: len(wanted) - 1] if len(words) >= len(wanted) else []
    return len(wanted) == len(words) and all(a in {"*", b} for a, b in zip(wanted, words, strict=True))


@cache
def _generated() -> tuple[dict[type[Event], str], dict[str, Any]]:
    known = contracts()
    models: list[type[BaseModel]] = [CloudEvent, *known]
    references, document = models_json_schema(
        [(model, "serialization") for model in models], ref_template=_SCHEMAS + "{model}"
    )
    names = {contract: target_of(references[contract, "serialization"]) for contract in known}
    return names, document["$defs"]
