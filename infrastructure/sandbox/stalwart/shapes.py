"""What a property may hold, and how JMAP writes it in Stalwart.

Lists are objects with integer keys, sets are objects whose values are true, variants carry `@type`. Reading
normalises: absent properties get their defaults. What has the wrong shape ends the reading with `invalidPatch`;
what is merely missing or too long is collected, so that one answer names it all (`validationFailed`).
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from infrastructure.sandbox.stalwart.errors import invalid_patch
from infrastructure.sandbox.stalwart.objects import number_id

Problems = list[dict[str, object]]


class Shape:
    """`read` returns the normal form; `references` yields (kind, id) of the objects that a normal form names."""

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        raise NotImplementedError

    def references(self, _value: Any) -> Iterator[tuple[str, int]]:
        yield from ()


@dataclass(frozen=True)
class Text(Shape):
    longest: int = 1024
    pattern: str = ""
    wrong: str = "Invalid value for property."
    lower: bool = False

    def read(self, value: Any, path: str, problems: Problems) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_patch(path, "Invalid value for property.")
        text: str = value.lower() if self.lower else value
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise invalid_patch(path, self.wrong)
        if len(text) > self.longest:
            problems.append({"type": "MaxLength", "property": path, "required": self.longest})
        return text


@dataclass(frozen=True)
class Flag(Shape):
    def read(self, value: Any, path: str, _problems: Problems) -> bool:
        if not isinstance(value, bool):
            raise invalid_patch(path, "Invalid value for boolean property (expected true or false)")
        return value


@dataclass(frozen=True)
class Whole(Shape):
    """An unsigned integer: bytes, milliseconds or a count."""

    def read(self, value: Any, path: str, _problems: Problems) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            expected = "(expected non-negative integer)"
            raise invalid_patch(path, f"Invalid value for unsigned integer property {expected}")
        return value


@dataclass(frozen=True)
class Choice(Shape):
    values: tuple[str, ...]

    def read(self, value: Any, path: str, _problems: Problems) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise invalid_patch(path, "Invalid value for enum.")
        return value


@dataclass(frozen=True)
class Reference(Shape):
    """The id of an object of this kind; whether it exists is asked later (`invalidForeignKey`)."""

    kind: str

    def read(self, value: Any, path: str, _problems: Problems) -> str:
        if number_id(value) is None:
            raise invalid_patch(path, "Invalid value for id property")
        return str(value)

    def references(self, value: Any) -> Iterator[tuple[str, int]]:
        number = number_id(value)
        if number is not None:
            yield self.kind, number


@dataclass(frozen=True)
class Ignored(Shape):
    """Set by the server; a client that sends back what it read is forgiven."""

    def read(self, _value: Any, _path: str, _problems: Problems) -> None:
        return None


@dataclass(frozen=True)
class Listed(Shape):
    """A list: `{"0": ..., "1": ...}`."""

    item: Shape

    def read(self, value: Any, path: str, problems: Problems) -> dict[str, Any]:
        members = _members(value, path)
        for key in members:
            if not (key.isascii() and key.isdigit() and len(key) < 10):
                raise invalid_patch(f"{path}/{key}", "Invalid key for object property")
        return {key: self.item.read(item, f"{path}/{key}", problems) for key, item in members.items()}

    def references(self, value: Any) -> Iterator[tuple[str, int]]:
        for item in value.values():
            yield from self.item.references(item)


@dataclass(frozen=True)
class Marked(Shape):
    """A set: `{"value": true}`."""

    item: Shape

    def read(self, value: Any, path: str, problems: Problems) -> dict[str, bool]:
        members = _members(value, path)
        for key, mark in members.items():
            if mark is not True:
                raise invalid_patch(f"{path}/{key}", "Invalid value for set property (expected true)")
        return {self.item.read(key, f"{path}/{key}", problems): True for key in members}

    def references(self, value: Any) -> Iterator[tuple[str, int]]:
        for key in value:
            yield from self.item.references(key)


@dataclass(frozen=True)
class Mapped(Shape):
    """A map from names to values."""

    names: Shape
    item: Shape

    def read(self, value: Any, path: str, problems: Problems) -> dict[str, Any]:
        return {
            self.names.read(key, f"{path}/{key}", problems): self.item.read(item, f"{path}/{key}", problems)
            for key, item in _members(value, path).items()
        }


@dataclass(frozen=True)
class Property:
    """One member of a record. Without `required`, null and absence mean `default`.

    `server` properties are not writable at all, `fixed` ones only at creation.
    """

    shape: Shape
    required: bool = False
    default: Any = None
    server: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class Record(Shape):
    members: dict[str, Property] = field(default_factory=dict)

    def read(self, value: Any, path: str, problems: Problems) -> dict[str, Any]:
        given = _members(value, path)
        for key in given:
            known = self.members.get(key)
            if known is None and key != "@type":
                raise invalid_patch(_below(path, key), "Invalid key for object")
            if known is not None and known.server:
                raise invalid_patch(_below(path, key), "Cannot modify server set property")
        result: dict[str, Any] = {}
        for key, member in self.members.items():
            if not member.server:
                result[key] = self._member(member, given.get(key), _below(path, key), problems)
        return result

    def _member(self, member: Property, value: Any, path: str, problems: Problems) -> Any:
        if value is not None:
            return member.shape.read(value, path, problems)
        if member.required:
            problems.append({"type": "Required", "property": path})
        return deepcopy(member.default)

    def references(self, value: Any) -> Iterator[tuple[str, int]]:
        for key, member in self.members.items():
            if value.get(key) is not None:
                yield from member.shape.references(value[key])


@dataclass(frozen=True)
class Variants(Shape):
    """A union, told apart by `@type`."""

    records: dict[str, Record]

    def read(self, value: Any, path: str, problems: Problems) -> dict[str, Any]:
        kind = _members(value, path).get("@type")
        if not isinstance(kind, str) or kind not in self.records:
            raise invalid_patch(_below(path, "@type"), "Missing or invalid '@type' property in object")
        return {"@type": kind, **self.records[kind].read(value, path, problems)}

    def references(self, value: Any) -> Iterator[tuple[str, int]]:
        yield from self.records[value["@type"]].references(value)


def variants(*names: str, **records: Record) -> Variants:
    """Variants without members by name, and others with their record."""
    return Variants({**{name: Record() for name in names}, **records})


def _members(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid_patch(path, "Invalid value type for object")
    return value


def _below(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key
