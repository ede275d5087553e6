"""The parts of the verifier for outsiders, against published vectors: RFC 8032, RFC 6962, RFC 8785."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785

from services.audit import bundle
from tests.audit.proofs.test_merkle import CONSISTENCY, CONTENTS, INCLUSION, ROOTS

pytestmark = pytest.mark.unit

# RFC 8032 section 7.1: tests 1, 2 and 3.
RFC8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), RFC8032)
def test_the_signatures_of_rfc_8032_verify_and_no_other(public: str, message: str, signature: str) -> None:
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert bundle.ed25519_verifies(key, text, signed)
    assert not bundle.ed25519_verifies(key, text + b"\0", signed)
    for place in (0, 31, 32, 63):
        flipped = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        assert not bundle.ed25519_verifies(key, text, flipped)
    more = int.from_bytes(signed[32:], "little") + bundle.ORDER
    assert not bundle.ed25519_verifies(key, text, signed[:32] + more.to_bytes(32, "little"))
    assert not bundle.ed25519_verifies(b"\xff" * 32, text, signed)


@pytest.mark.parametrize(
    "value", [{"€": 1, "\ud800\udc00": 2, "דּ": 3, "a": [True, None]}, 'a"\\\b\f\n\r\t\x0f\x7f/é😀']
)
def test_the_verifiers_canonical_form_is_that_of_rfc_8785(value: Any) -> None:
    # A «surrogate pair» in a JSON text is one character; Python writes it as such.
    value = json.loads(json.dumps(value))
    assert bundle.canonical_bytes(value) == rfc8785.dumps(value)


def test_a_point_that_is_written_in_another_way_is_none() -> None:
    """RFC 8032 section 5.1.3: y is below p. With y = p + 1 the neutral element would verify anything."""
    neutral, other = (1).to_bytes(32, "little"), (bundle.P + 1).to_bytes(32, "little")
    assert bundle.ed25519_verifies(neutral, b"anything", neutral + bytes(32))
    assert not bundle.ed25519_verifies(other, b"anything", neutral + bytes(32))
    assert not bundle.ed25519_verifies(neutral, b"anything", other + bytes(32))


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_a_published_inclusion_proof_verifies_and_not_for_a_larger_tree(index: int, size: int, path: list[str]) -> None:
    steps, root = [bytes.fromhex(step) for step in path], bytes.fromhex(ROOTS[size])
    hashed = hashlib.sha256(b"\0" + CONTENTS[index]).digest()
    assert bundle.includes(index, size, hashed, steps, root)
    assert not bundle.includes(index, 2 * size, hashed, steps, root)
    assert not bundle.includes(index, size, hashed, [*steps, root], root)
    assert not bundle.includes(index, size, bytes(32), steps, root)


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_a_published_consistency_proof_verifies_and_not_for_a_larger_tree(
    first: int, second: int, path: list[str]
) -> None:
    steps, roots = [bytes.fromhex(step) for step in path], (bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second]))
    assert bundle.extends(first, second, roots, steps)
    assert not bundle.extends(first, 2 * second, roots, steps)
    assert not bundle.extends(first, second, roots, [*steps, roots[1]])
    assert not bundle.extends(first, second, (roots[0], bytes(32)), steps)
