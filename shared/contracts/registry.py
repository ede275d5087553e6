"""Every event type that the fleet knows, by name."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from shared.contracts.envelope import Event


def contract_for(event_type: str) -> type[Event] | None:
    """Return the contract of an event type, or None for one that this version does not know."""
    return _by_type().get(event_type)


def contracts() -> list[type[Event]]:
    """Return all contracts, sorted by type."""
    return [_by_type()[name] for name in sorted(_by_type())]


@functools.cache
def _by_type() -> dict[str, type[Event]]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"shared.contracts.{module.name}")
    found: dict[str, type[Event]] = {}
    for contract in _subclasses(Event):
        name = contract.__dict__.get("type")
        if name is None:
            continue
        if name in found:
            raise ValueError(f"two contracts claim the event type {name}")
        found[name] = contract
    return found


def _subclasses(root: type[Event]) -> Iterator[type[Event]]:
    for child in root.__subclasses__():
        if child.__module__.startswith("shared.contracts."):
            yield child
        yield from _subclasses(child)
