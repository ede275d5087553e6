"""The envelope of every event: CloudEvents 1.0 in JSON, with who, what, outcome and before/after inside."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from shared.clock import rfc3339

T = TypeVar("T")


class _PersonalMark:
    """Marks a field that names or locates a human; audit commits to it instead of storing it in the clear."""

    def __repr__(self) -> str:
        return "Personal"


PERSONAL = _PersonalMark()
Personal = Annotated[T, PERSONAL]
"""``Personal[str]``: a field that erasure must be able to reach."""

Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""An aware UTC time, rendered with milliseconds."""

Outcome = Literal["success", "denied", "failure"]


class Contract(BaseModel):
    """A part of an event: camelCase on the wire, immutable, tolerant of members that a newer version added."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Actor(Contract):
    """Who did it. ``email`` and ``ip`` are absent for services."""

    type: Literal["user", "service", "system", "external"]
    id: str
    email: Personal[str] | None = None
    ip: Personal[str] | None = None
    surface: str | None = None


class Resource(Contract):
    """What it was done to; the slugs place it in a scope, so that audit can answer scoped readers."""

    type: str
    id: str
    name: str | None = None
    tenant_slug: str | None = None
    partner_slug: str | None = None


class PersonResource(Resource):
    """A resource that is a human: its name is personal."""

    name: Personal[str] | None = None


class Change(Contract, Generic[T]):
    """One field before and after."""

    before: T | None = None
    after: T | None = None


C = TypeVar("C", bound=Contract)


def changes_of(changes: type[C], before: object | None, after: object) -> C:
    """Return what differs between two states, in the fields of the contract ``changes``, each a ``Change``.

    Against None as ``before``, everything that ``after`` has.
    """
    found: dict[str, Any] = {}
    for name in changes.model_fields:
        old = getattr(before, name) if before is not None else None
        new = getattr(after, name)
        if old != new:
            found[name] = {"before": old, "after": new}
    return changes.model_validate(found)


class Event(Contract):
    """The ``data`` of an event. A subclass is one event type and names it.

    Attributes:
        type: ``tenant.suspended.v1``; its first word belongs to one publishing process.
        version: of the aggregate after the change; None for what changes no aggregate (a denial).
    """

    type: ClassVar[str]
    summary: ClassVar[str] = ""

    actor: Actor
    action: str = ""
    outcome: Outcome = "success"
    resource: Resource
    version: int | None = None

    def model_post_init(self, _: Any, /) -> None:
        if not self.action:
            object.__setattr__(self, "action", self.type.rsplit(".v", 1)[0])

    @property
    def subject(self) -> str:
        """The resource path: ``tenants/acme``."""
        return f"{self.resource.type}s/{self.resource.id}"


class CloudEvent(BaseModel):
    """CloudEvents 1.0.2 with the extensions ``sourceseq``, ``traceparent`` and ``requestid``.

    ``sourceseq`` is gapless per source and is given by the relay; it is 0 from the gateway, which has no database to
    count in. ``data`` stays plain JSON here, because a receiver may be older than the sender.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: Moment
    datacontenttype: Literal["application/json"] = "application/json"
    sourceseq: int
    traceparent: str | None = None
    requestid: str | None = None
    data: dict[str, Any]


def personal_paths(model: type[BaseModel]) -> list[tuple[str, ...]]:
    """Return where a contract keeps personal values, as paths of wire names.

    ``*`` stands for every element of a list or every value of a map: ``("state", "domains", "*", "name")``.
    The paths are sorted, and none is a prefix of another.
    """
    return sorted(set(_walk_model(model, ())))


def _walk_model(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        if PERSONAL in field.metadata:
            yield here
        else:
            yield from _walk_type(field.annotation, here)


def _walk_type(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if PERSONAL in arguments[1:]:
            yield path
        else:
            yield from _walk_type(arguments[0], path)
    elif origin in {Union, types.UnionType}:
        for argument in arguments:
            yield from _walk_type(argument, path)
    elif origin in {list, tuple, set, frozenset}:
        for argument in arguments[:1]:
            yield from _walk_type(argument, (*path, "*"))
    elif origin is dict:
        yield from _walk_type(arguments[1], (*path, "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _walk_model(annotation, path)
