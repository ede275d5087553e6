"""The API document as an independent validator reads it (JSON Schema 2020-12)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

METHODS = ("get", "put", "post", "delete", "patch")
PROBLEM = "application/problem+json"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``POST /api/tenants`` and what is written of it."""
    for path, item in document["paths"].items():
        yield from ((f"{method.upper()} {path}", item[method]) for method in METHODS if method in item)


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def success(operation: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the status and the response object that an operation succeeds with."""
    status = min(status for status in operation["responses"] if status.startswith("2"))
    return int(status), operation["responses"][status]


class Strict:
    """The document with every object closed: a member that no schema names is a fault, as is a wrong format."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = copy.deepcopy(document["components"])
        for schema in self._components["schemas"].values():
            if schema.get("type") == "object" and "properties" in schema:
                schema.setdefault("additionalProperties", False)

    def complaints(self, schema: dict[str, Any], value: Any) -> list[str]:
        """Return what the schema has against a value."""
        whole = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self._components,
            "allOf": [schema],
        }
        validator = jsonschema_rs.validator_for(whole, validate_formats=True)
        return [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(value)]


def members(value: Any) -> set[str]:
    """Return the paths of the members of a value down to its third level; of a list those of its first item."""
    return set(_members(value, "", 3))


def _members(value: Any, at: str, depth: int) -> Iterator[str]:
    if isinstance(value, list) and value:
        yield from _members(value[0], f"{at}[]", depth)
    elif isinstance(value, dict) and depth:
        for name, inner in value.items():
            yield f"{at}.{name}"
            yield from _members(inner, f"{at}.{name}", depth - 1)
