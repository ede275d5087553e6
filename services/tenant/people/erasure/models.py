"""What is personal in what this service keeps: pure functions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from shared.contracts.envelope import personal_paths
from shared.contracts.registry import contract_for

_NAMING = ("email", "name")


def forget_in_event(event_type: str, envelope_data: dict[str, Any], person: str) -> bool:
    """Take what is personal of ``person`` out of an event's data, in place; return whether there was anything.

    Somebody else who acted on them keeps their name, and so does somebody on whom they acted.
    """
    contract = contract_for(event_type)
    if contract is None:
        return False
    acted = _is(envelope_data.get("actor"), person)
    suffered = _is(envelope_data.get("resource"), person)
    found = False
    for path in personal_paths(contract):
        if acted if path[0] == "actor" else suffered:
            found |= _blank(envelope_data, path)
    return found


def forget_billing(event_type: str, envelope_data: dict[str, Any], email: str) -> bool:
    """Take an address out of a tenant's event in which it is that of the billing contact."""
    contract = contract_for(event_type)
    found = False
    for path in [] if contract is None else personal_paths(contract):
        if "contact" in path:
            found |= _blank(envelope_data, path, only=email.casefold())
    return found


def forget_in_answer(body: bytes, people: Collection[str]) -> bytes | None:
    """Return a stored answer without what is personal of ``people``; None if it holds nothing of them."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict) or not {answer.get("id"), answer.get("userId")} & set(people):
        return None
    blank = {name: "" for name in _NAMING if name in answer}  # as they stand beside a person who was erased
    return orjson.dumps({name: value for name, value in {**answer, **blank}.items() if name != "subject"})


def _is(member: Any, person: str) -> bool:
    return isinstance(member, dict) and member.get("type") in {"user", "person"} and member.get("id") == person


def _blank(node: Any, path: tuple[str, ...], only: str | None = None) -> bool:
    """Set what lies at ``path`` to null, if it is ``only``; ``*`` stands for every element or value."""
    head, *rest = path
    keys: list[Any] = []
    if isinstance(node, dict):
        keys = list(node) if head == "*" else [head] if head in node else []
    elif isinstance(node, list) and head == "*":
        keys = list(range(len(node)))
    found = False
    for key in keys:
        if rest:
            found |= _blank(node[key], tuple(rest), only)
        elif node[key] is not None and only in {None, str(node[key]).casefold()}:
            node[key] = None
            found = True
    return found
