"""Base classes of what the API takes and gives: camelCase, strict, nothing unknown."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from shared.clock import parse_rfc3339, rfc3339


class Input(BaseModel):
    """A request body: unknown members and wrong types are refused, never coerced or dropped."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", strict=True, frozen=True
    )


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


# Controls, line and paragraph separators, surrogates, private and unassigned characters.
_UNPRINTABLE = {"Cc", "Zl", "Zp", "Cs", "Cn", "Co"}
# Embeddings, overrides and isolates: the bidirectional controls of CVE-2021-42574.
_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class ProblemField(View):
    """One field that is wrong."""

    field: str
    code: str
    message: str


class ProblemView(View):
    """A problem document (RFC 9457), sent as ``application/problem+json``."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    request_id: str | None = None
    errors: list[ProblemField] = []


def _printable(text: str) -> str:
    """Refuse what hides or reorders what a reader would see."""
    for character in text:
        if unicodedata.category(character) in _UNPRINTABLE or character in _BIDIRECTIONAL:
            raise ValueError(f"must not contain the character U+{ord(character):04X}")
    return unicodedata.normalize("NFC", text)


def _some(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Text = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable), AfterValidator(_some)]
"""One line of a human's text: 1 to 200 characters, trimmed, NFC."""

Prose = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_printable), AfterValidator(_some)]
"""A reason or note: 1 to 2,000 characters."""


def _moment(value: object) -> datetime:
    # Strict bodies take no string for a datetime, and pydantic's own parser takes more than RFC 3339.
    if not isinstance(value, str) or len(value) > _LONGEST_MOMENT:
        raise ValueError("must be an RFC 3339 date-time with its offset")
    return parse_rfc3339(value)


_LONGEST_MOMENT = 40

GivenMoment = Annotated[datetime, BeforeValidator(_moment)]
"""A date-time that a caller names: RFC 3339 with its offset, read to the millisecond in UTC."""

Timestamp = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""RFC 3339 in UTC with milliseconds."""


def _email(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    labels = domain.split(".")
    well_formed = (
        at
        and len(local) <= 64
        and all(local.split("."))
        and len(domain) <= 253
        and len(labels) > 1
        and all(0 < len(label) <= 63 and not label.startswith("-") and not label.endswith("-") for label in labels)
        and all(c.isalnum() or c in "-." for c in domain if c.isascii())
        and not any(c.isspace() or c in '"(),:;<>@[\\]' or unicodedata.category(c) == "Cf" for c in local + domain)
    )
    if not well_formed:
        raise ValueError("must be an e-mail address like jane@acme.example")
    return f"{local}@{domain.lower()}"


Email = Annotated[str, StringConstraints(max_length=254), AfterValidator(_printable), AfterValidator(_email)]
"""An e-mail address (the dot-atom form of RFC 5321), its domain in lower case."""
