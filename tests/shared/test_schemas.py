"""What a human may type and what would deceive the human who reads it."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.schemas import Email, Input, Prose, Text, Timestamp, View

pytestmark = pytest.mark.unit

TEXT: TypeAdapter[str] = TypeAdapter(Text)
PROSE: TypeAdapter[str] = TypeAdapter(Prose)
EMAIL: TypeAdapter[str] = TypeAdapter(Email)

DECEIVING = [
    "\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ue000", "\ufffe",
    # The bidirectional controls that CVE-2021-42574 lists.
    "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069",
]  # fmt: skip


@pytest.mark.parametrize("character", DECEIVING, ids=[f"U+{ord(c):04X}" for c in DECEIVING])
@pytest.mark.parametrize("of", [TEXT, PROSE, EMAIL], ids=["text", "prose", "email"])
def test_a_character_that_hides_or_reorders_is_refused(of: TypeAdapter[str], character: str) -> None:
    good = "jane@acme.example"
    assert of.validate_python(good) == good
    with pytest.raises(ValidationError):
        of.validate_python(f"ja{character}ne@acme.example")


@pytest.mark.parametrize("text", ["Zoë & Søn", "東京支社", "شركة", "नमस्ते", "👩\u200d💻 GmbH", "O'Neill (UK)"])
def test_names_of_the_world_are_taken(text: str) -> None:
    assert TEXT.validate_python(text) == text


def test_text_is_trimmed_and_composed() -> None:
    assert TEXT.validate_python("  Zoe\u0308  ") == "Zoë"


@pytest.mark.parametrize("text", ["", "   ", "\u00a0", "x" * 201])
def test_blank_and_endless_text_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TEXT.validate_python(text)


def test_two_thousand_characters_are_a_reason_and_one_more_is_not() -> None:
    assert PROSE.validate_python("x" * 2000) == "x" * 2000
    with pytest.raises(ValidationError):
        PROSE.validate_python("x" * 2001)


@given(st.text(max_size=250))
def test_text_that_passes_is_short_composed_and_shows_what_it_is(text: str) -> None:
    try:
        kept = TEXT.validate_python(text)
    except ValidationError:
        return
    assert kept == unicodedata.normalize("NFC", kept) == kept.strip()
    assert not {unicodedata.category(c) for c in kept} & {"Cc", "Cs", "Cn", "Co", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("jane@acme.example", "jane@acme.example"),
        ("Jane.Doe+x@ACME.Example", "Jane.Doe+x@acme.example"),
        (" jane@acme.example ", "jane@acme.example"),
        ("o'neill!#$%&*/=?^_`{|}~-@a-b.example", "o'neill!#$%&*/=?^_`{|}~-@a-b.example"),
        ("jürgen@bücher.example", "jürgen@bücher.example"),
        ("x" * 64 + "@acme.example", "x" * 64 + "@acme.example"),
    ],
)
def test_addresses_are_taken_with_their_domain_in_lower_case(text: str, kept: str) -> None:
    assert EMAIL.validate_python(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "jane",
        "@acme.example",
        "jane@",
        "jane@localhost",
        "jane@acme..example",
        "jane@.example",
        "jane@acme.example.",
        "jane@-acme.example",
        "jane@acme-.example",
        "jane@acme_x.example",
        "jane@acme.example/x",
        "jane@[127.0.0.1]",
        "jane@" + "a" * 64 + ".example",
        "jane@" + "a." * 127 + "example",
        "x" * 65 + "@acme.example",
        ".jane@acme.example",
        "jane.@acme.example",
        "ja..ne@acme.example",
        "ja ne@acme.example",
        '"jane"@acme.example',
        "jane,joe@acme.example",
        "<jane@acme.example>",
        "jane@evil.example@acme.example",
        "jane@acme.example, joe@acme.example",
        "ja\u200bne@acme.example",
        "jane@ac\u00adme.example",
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        EMAIL.validate_python(text)


class Seats(Input):
    seat_count: int
    note: Text | None = None


@pytest.mark.parametrize(
    "body",
    [
        '{"seatCount": "5"}',
        '{"seatCount": 5.0}',
        '{"seatCount": true}',
        '{"seat_count": 5}',
        '{"seatCount": 5, "admin": true}',
        '{"seatCount": {"$gt": 0}}',
        '{"seatCount": 5, "note": 7}',
        "{}",
        "[]",
    ],
)
def test_a_body_is_never_coerced_and_has_nothing_unknown(body: str) -> None:
    assert Seats.model_validate_json('{"seatCount": 5}').seat_count == 5
    with pytest.raises(ValidationError):
        Seats.model_validate_json(body)


def test_a_view_is_camel_case_with_times_in_milliseconds() -> None:
    class Seen(View):
        created_at: Timestamp

    seen: Any = Seen(created_at=datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert seen.model_dump_json(by_alias=True) == '{"createdAt":"2026-11-22T12:00:00.000Z"}'
