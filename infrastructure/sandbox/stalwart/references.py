"""What later calls may name: objects created before (`#id`), and results of earlier calls (`#ids`).

RFC 8620 section 5.3 and section 3.7.
"""

from typing import Any

from infrastructure.sandbox.stalwart.errors import MethodError, SetError

# Creation id to id, over all calls of one request.
Created = dict[str, str]
Response = tuple[str, dict[str, Any], str]
# Whose value, or whose members' names, are ids.
NAMING_ONE = frozenset({"domainId", "memberTenantId", "accountId"})
NAMING_MANY = frozenset({"memberGroupIds"})


def resolved(value: Any, created: Created) -> Any:
    """A copy with every `#id` replaced where an id belongs. Raises SetError `invalidProperties` for an unknown one."""
    if isinstance(value, str):
        return _id(value, created)
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        last = key.rpartition("/")[2]
        if last in NAMING_ONE and isinstance(item, str):
            result[key] = _id(item, created)
        elif last in NAMING_MANY and isinstance(item, dict):
            result[key] = {_id(member, created): mark for member, mark in item.items()}
        elif isinstance(item, dict):
            result[key] = resolved(item, created)
        else:
            head, slash, tail = key.partition("/")
            name = f"{head}/{_id(tail, created)}" if slash and head in NAMING_MANY else key
            result[name] = item
    return result


def _id(text: str, created: Created) -> str:
    if not text.startswith("#"):
        return text
    if text[1:] not in created:
        raise SetError("invalidProperties", f"Id reference {text!r} does not exist.")
    return created[text[1:]]


def with_results(arguments: dict[str, Any], responses: list[Response]) -> dict[str, Any]:
    """The arguments with `#name` members looked up. Raises MethodError `invalidResultReference`."""
    result = {}
    for key, value in arguments.items():
        if not key.startswith("#"):
            result[key] = value
            continue
        if key[1:] in arguments:
            raise MethodError("invalidArguments", f"Both {key[1:]} and {key} are present.")
        result[key[1:]] = _looked_up(value, responses)
    return result


def _looked_up(reference: Any, responses: list[Response]) -> Any:
    if not isinstance(reference, dict):
        raise MethodError("invalidArguments", "A result reference is an object.")
    for name, answer, call in responses:
        if (name, call) == (reference.get("name"), reference.get("resultOf")):
            return _walk(answer, str(reference.get("path", "")).split("/")[1:])
    raise MethodError("invalidResultReference", "The call that is referred to has no such result.")


def _walk(value: Any, path: list[str]) -> Any:
    for position, part in enumerate(path):
        if part == "*" and isinstance(value, list):
            items = [_walk(item, path[position + 1 :]) for item in value]
            return [inner for item in items for inner in (item if isinstance(item, list) else [item])]
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise MethodError("invalidResultReference", "The path does not lead to a value.")
    return value
