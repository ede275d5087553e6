"""The canonical form: RFC 8785's own examples, the worked examples of the format, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from services.audit.canonical import FIELDS, MAX_DEPTH, NotCanonicalError, canonical_entry, canonical_json, entry_hash
from services.audit.checkpoints.frontier import Frontier
from services.audit.checkpoints.keys import CheckpointKeys, Ed25519Key, HmacKey, Tenure, complaint
from services.audit.checkpoints.models import checkpoint_hash, signed_bytes, witness_bytes
from services.audit.personal import address_tag, commitment
from tests.audit.format_vectors import ED25519_SEED, HMAC_KEY, SALTS, checkpoint_vectors, vectors
from tests.audit.memory import root_of

FORMAT = Path(__file__).parents[2] / "docs" / "audit-format.md"


def test_members_are_sorted_as_in_the_example_of_rfc_8785_section_3_2_3() -> None:
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    names = ["\\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]
    members = ",".join(f'"{name}":"{text}"' for name, text in zip(names, order, strict=True))
    assert canonical_json(value).decode() == "{" + members + "}"


def test_strings_and_literals_are_written_as_in_rfc_8785_section_3_2_2() -> None:
    # The example of the RFC without its numbers, which are no integers.
    value = {"string": '\u20ac$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
    expected = bytes.fromhex(
        "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c22737472696e67223a22e282ac245c7530303066"
        "5c6e4127425c225c5c5c5c5c222f227d"
    )
    assert canonical_json(value) == expected


def test_nested_members_with_numerals_and_empty_names_are_sorted_as_text() -> None:
    value = {"1": {"f": {"f": "hi", "F": 5}, "\n": 56}, "10": {}, "": "empty", "a": {}, "111": [{}], "A": {}}
    assert canonical_json(value) == b'{"":"empty","1":{"\\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{}],"A":{},"a":{}}'


@pytest.mark.parametrize("vector", vectors(), ids=["event", "unparsed"])
def test_the_worked_examples_of_the_format_come_out(vector: dict[str, Any]) -> None:
    assert canonical_entry(vector["entry"]).decode() == vector["canonical"]
    assert entry_hash(vector["entry"]) == vector["hash"]


def test_the_document_prints_the_worked_examples() -> None:
    document = FORMAT.read_text(encoding="utf-8")
    for vector in vectors():
        assert vector["canonical"] in document
        assert vector["hash"] in document


def test_checkpoints_are_those_of_the_document() -> None:
    document = FORMAT.read_text(encoding="utf-8")
    ring = CheckpointKeys([Tenure(HmacKey(HMAC_KEY)), Tenure(Ed25519Key.from_seed(ED25519_SEED))])
    frontier = Frontier()
    for vector, entry in zip(checkpoint_vectors(), vectors(), strict=True):
        row = vector["row"]
        frontier.append(entry["hash"])
        assert frontier.root().hex() == row["rootHash"]
        assert signed_bytes(row).decode() == vector["signed"]
        assert checkpoint_hash(row) == vector["hash"]
        assert ring.sign(row) == vector["signatures"]
        assert complaint(ring, row) is None
        assert witness_bytes(row).decode() == vector["copy"]
        for text in (vector["signed"], vector["hash"], vector["copy"], *(s["signature"] for s in vector["signatures"])):
            assert f"    {text}\n" in document
        assert all(f"    {signature['keyId']}\n" in document for signature in vector["signatures"])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 100])
def test_the_root_in_logarithmic_space_is_that_of_rfc_6962(size: int) -> None:
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(size)]
    frontier = Frontier()
    for digest in hashes:
        frontier.append(digest)
    assert frontier.root().hex() == root_of(hashes)
    assert len(frontier.nodes()) == size.bit_count()


def test_commitments_and_tags_are_those_of_the_document() -> None:
    document = FORMAT.read_text(encoding="utf-8")
    values = ("Zoë@nordic.example", "203.0.113.7", "Zoë Müller")
    for salt, value in zip(SALTS, values, strict=True):
        assert f"    {salt.hex()}\n    {canonical_json(value).decode()}\n" in document
        assert f"    {commitment(salt, value)['$commit']}\n" in document
    assert f"    {address_tag(bytes([7]) * 32, 'zoë@nordic.example')}\n" in document


def test_the_document_lists_the_fields_in_the_order_of_the_code() -> None:
    table = FORMAT.read_text(encoding="utf-8").split("| --- | --- | --- |")[1].split("\n\n")[0]
    assert tuple(line.split("`")[1] for line in table.strip().splitlines()) == FIELDS


_text = st.text(st.characters(codec="utf-8"), max_size=12)
_scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _text
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_text, inner, max_size=6), max_leaves=25
)


@given(_values)
def test_the_encoder_agrees_with_the_reference_on_every_value_of_the_format(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_the_encoder_agrees_with_the_reference_on_every_string(text: str) -> None:
    assert canonical_json([text]) == rfc8785.dumps([text])


def test_every_single_character_is_escaped_as_the_reference_does() -> None:
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF)
    assert canonical_json(every) == rfc8785.dumps(every)


def test_integers_of_bson_hash_like_any_other() -> None:
    assert canonical_json({"seq": Int64(7)}) == b'{"seq":7}'


@pytest.mark.parametrize(
    "value",
    [1.0, 1.5, float("nan"), 2**53, -(2**53), "\ud800", {"\udfff": 1}, {"a": {"\u20ac": "\ud800"}}, b"x", (1,), {1: 2}],
    ids=repr,
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json({"inside": [value]})


def test_a_float_after_a_name_beyond_ascii_is_refused_too() -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json([{"é": 1}, 1.5])


def test_nesting_beyond_the_limit_is_refused_and_at_the_limit_is_not() -> None:
    def nested(levels: int) -> Any:
        value: Any = "bottom"
        for _ in range(levels):
            value = [value]
        return value

    canonical_json(nested(MAX_DEPTH))
    with pytest.raises(NotCanonicalError):
        canonical_json(nested(MAX_DEPTH + 1))
