"""Updates: properties addressed by JSON pointer (RFC 8620 section 5.3, RFC 6901)."""

from copy import deepcopy
from typing import Any

from infrastructure.sandbox.stalwart.errors import SetError, invalid_patch
from infrastructure.sandbox.stalwart.shapes import Record


def patched(body: dict[str, Any], changes: dict[str, Any], record: Record) -> dict[str, Any]:
    """A copy of the body with the changes made; its shape is still to be read. Raises SetError `invalidPatch`."""
    for pointer in changes:
        if any(other.startswith(f"{pointer}/") for other in changes):
            raise invalid_patch(pointer, "A pointer may not be the prefix of another")
    result = deepcopy(body)
    for pointer, value in changes.items():
        if pointer != "@type":
            _apply(result, pointer, value, record)
    return result


def _apply(body: dict[str, Any], pointer: str, value: Any, record: Record) -> None:
    path = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    member = record.members.get(path[0])
    if member is None:
        raise invalid_patch(pointer, "Invalid key for object")
    if member.server:
        raise invalid_patch(pointer, "Cannot modify server set property")
    if member.fixed:
        raise invalid_patch(pointer, "Cannot modify read-only property")
    target: Any = body
    for part in path[:-1]:
        if isinstance(target, dict) and target.get(part) is None:
            target[part] = {}
        target = target.get(part) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise invalid_patch(pointer, "Invalid JSON Pointer path")
    if value is not None:
        target[path[-1]] = value
    elif len(path) == 1 and member.required:
        raise _required(pointer)
    else:
        target.pop(path[-1], None)


def _required(pointer: str) -> SetError:
    return invalid_patch(pointer, "Invalid value for property.")
