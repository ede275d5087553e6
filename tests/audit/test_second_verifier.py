"""Two verifiers, one document: they agree with its worked examples, and with each other on every log."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.chain import link
from services.audit.facts import interpret
from services.audit.models import Head
from services.audit.personal import KeyRing, commit_fact
from shared.testing import ManualClock
from tests.audit.events import encode, refused, registered, suspended, tenant_event, type_of
from tests.audit.memory import (
    MemoryBucket,
    MemoryCheckpoints,
    MemoryLog,
    Row,
    bucket_of,
    checkpoint,
)
from tests.audit.operators import OPERATORS, World
from tests.audit.second_boxes import address_tag, commitment
from tests.audit.second_canonical import canonical, content_hash
from tests.audit.second_verifier import Evidence, Key, forms, leaf, signed_bytes, verify
from tests.audit.two_verifiers import VAULT, Place, both

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit-format.md"


class Examples:
    """The indented lines of the document's last section, in the order in which they stand there."""

    def __init__(self) -> None:
        section = DOCUMENT.read_text().split("## 10. Worked examples")[1]
        lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
        self.commitments = [lines[n : n + 3] for n in range(0, 12, 3)]
        self.address_tag = lines[12]
        self.entries = [(lines[13], lines[14]), (lines[15], lines[16])]
        self.key_ids, self.public_key, self.leaves = lines[17:19], lines[19], lines[20:22]
        self.checkpoints = [lines[22:27], lines[27:32]]
        assert len(lines) == 32


EXAMPLES = Examples()
EXAMPLE_KEYS = (Key("HMAC-SHA-256", b"\x08" * 32), Key("Ed25519", bytes.fromhex(EXAMPLES.public_key)))


def test_the_examples_of_commitments_and_of_an_address_tag_are_right() -> None:
    for salt, value, expected in EXAMPLES.commitments:
        assert commitment(bytes.fromhex(salt), json.loads(value)) == expected
    assert address_tag(b"\x07" * 32, " Zoë@Nordic.example") == EXAMPLES.address_tag


def test_the_examples_of_entries_have_that_form_and_that_hash() -> None:
    for line, digest in EXAMPLES.entries:
        assert canonical(json.loads(line)) == line.encode()
        assert content_hash(json.loads(line)) == digest


def test_the_examples_of_keys_and_of_the_tree_are_right() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    assert private.public_key().public_bytes_raw().hex() == EXAMPLES.public_key
    assert [key.key_id for key in EXAMPLE_KEYS] == EXAMPLES.key_ids
    assert [leaf(digest).hex() for _, digest in EXAMPLES.entries] == EXAMPLES.leaves


def test_the_log_of_the_examples_is_whole() -> None:
    """Without the boxes: the document shows none."""
    assert verify(_the_log_of_the_examples()) is None


def test_the_examples_of_checkpoints_have_those_bytes_and_that_hash() -> None:
    for line, digest, _, _, body in EXAMPLES.checkpoints:
        assert signed_bytes(json.loads(body)) == line.encode()
        assert hashlib.sha256(line.encode()).hexdigest() == digest
        assert canonical(json.loads(body)) == body.encode()


def _the_log_of_the_examples() -> Evidence:
    entries = []
    for line, digest in EXAMPLES.entries:
        entry = json.loads(line)
        stored = {"_id": entry["seq"], "actions": forms(entry["action"]), "sealed": [], "actorEmailHmac": None}
        entries.append({**entry, "hash": digest, **stored})
    witness = {n: lines[4].encode() for n, lines in enumerate(EXAMPLES.checkpoints, 1)}
    rows = [{("_id" if k == "number" else k): v for k, v in json.loads(copy).items()} for copy in witness.values()]
    head = {"_id": "chain", "seq": 2, "hash": EXAMPLES.entries[1][1]}
    return Evidence(entries, head, rows, witness, EXAMPLE_KEYS)


# agreement with the product's verifier

LENGTH, EVERY = 30, 5
# One in the middle, and the last, at which a checkpoint ends. Every one: `make torture`.
POSITIONS = (14, 30)


@cache
def untouched() -> World:
    """Changes, persons, strangers and bytes that nobody can read, under a witnessed checkpoint after every fifth."""
    payloads = encode(
        *(
            refused(number, id=f"refused-{number}")
            if number % 3 == 1
            else {0: suspended, 3: registered}.get(number % 5, tenant_event)(number)
            for number in range(1, LENGTH)
        )
    )
    payloads.insert(LENGTH // 2, b"not JSON")
    ring, now = KeyRing(VAULT, []), ManualClock().now()
    facts = [interpret(type_of(payload), payload, now) for payload in payloads]
    entries = link(Head(), [commit_fact(fact, ring) for fact in facts])
    rows: list[Row] = []
    for end in range(EVERY, LENGTH + 1, EVERY):
        hashes = [entry["hash"] for entry in entries[:end]]
        rows.append(checkpoint(len(rows) + 1, hashes, rows[-1] if rows else None))
    return World(MemoryLog(entries, ring.created), MemoryCheckpoints(rows), bucket_of(rows), LENGTH, EVERY)


async def attack(name: str, positions: Sequence[int]) -> int:
    """How often an operator changed something; each time both must name the same break."""
    done = 0
    for position in positions:
        world = untouched().copy()
        if OPERATORS[name](world, position) is not None:
            assert await both(world) is not None
            done += 1
    return done


async def test_both_find_the_untouched_log_whole() -> None:
    assert await both(untouched()) is None


@pytest.mark.parametrize("name", OPERATORS)
async def test_both_name_the_same_break(name: str) -> None:
    assert await attack(name, (1, *POSITIONS) if name.startswith(("insert", "delete", "swap")) else POSITIONS)


@pytest.mark.torture
@pytest.mark.parametrize("name", OPERATORS)
async def test_both_name_the_same_break_wherever_it_is(name: str) -> None:
    assert await attack(name, range(1, LENGTH + 1)) > 5


# what only a reader of the document comes upon: the attacker computes everything anew, and nothing signs it


def _box_of_its_own(entry: Row) -> None:
    entry["sealed"] = [one | {"note": "approved"} for one in entry["sealed"]]


def _set(name: str, value: object) -> Callable[[Row], None]:
    return lambda entry: entry.update({name: value})


def _in_metadata(value: object) -> Callable[[Row], None]:
    return lambda entry: entry.update(metadata={**entry["metadata"], "x": value})


CONTENT, GAP = ("event-hash-mismatch", 14, None), ("seq-gap", 14, None)
REWRITTEN: dict[str, tuple[Callable[[Row], None], Place]] = {
    "nothing": (lambda entry: None, None),
    "a word that this version does not know": (_set("outcome", "undecided"), None),
    "true for 1": (_set("v", True), CONTENT),
    "a later version": (_set("v", 2), CONTENT),
    "a number for a text": (_set("actorId", 7), CONTENT),
    "an object for a text": (_set("tenantSlug", {}), CONTENT),
    "an e-mail address in the clear": (_set("actorEmail", "jane@nordic.example"), CONTENT),
    "a time of another precision": (_set("at", "2026-11-22T12:00:00Z"), CONTENT),
    "digits of another script": (_set("at", "٢٠٢٦-11-22T12:00:00.000Z"), CONTENT),
    "a list for metadata": (_set("metadata", []), CONTENT),
    "a reserved name": (_in_metadata({"$where": 1}), CONTENT),
    "a name with a zero": (_in_metadata([{"a\0b": 1}]), CONTENT),
    "a commitment with a companion": (_in_metadata({"$commit": "0" * 64, "note": "x"}), CONTENT),
    "a commitment of no digits": (_in_metadata({"$commit": "x"}), CONTENT),
    "a commitment without a value": (_in_metadata({"$commit": "0" * 64}), CONTENT),
    "a hidden text in a box's place": (_box_of_its_own, CONTENT),
    "boxes in another order": (lambda entry: entry["sealed"].reverse(), CONTENT),
    "a box twice": (lambda entry: entry["sealed"].append(entry["sealed"][0]), CONTENT),
    "a box away": (lambda entry: entry["sealed"].pop(), CONTENT),
    "the forms of an action in another order": (lambda entry: entry["actions"].reverse(), CONTENT),
    "a double for its number": (_set("seq", 14.0), GAP),
    "a double for its place": (_set("_id", 14.0), GAP),
}


@pytest.mark.parametrize("name", REWRITTEN)
async def test_both_read_the_document_alike_where_hashes_say_nothing(name: str) -> None:
    change, expected = REWRITTEN[name]
    world = untouched().copy()
    world.stored, world.bucket = MemoryCheckpoints(), MemoryBucket()
    entry = copy.deepcopy(world.log.entries[14])
    assert len(entry["sealed"]) == 2
    change(entry)
    world.log.entries[14] = entry
    world.rehash(14)
    world.set_head(LENGTH)
    assert await both(world) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0.5, ("seq-gap", 1, None)),
        (LENGTH - 0.5, ("seq-gap", LENGTH, None)),
        (LENGTH + 0.5, ("truncated-tail", LENGTH, None)),
    ],
)
async def test_both_see_an_entry_between_two_numbers(place: float, expected: Place) -> None:
    world = untouched().copy()
    world.log.entries[place] = world.log.entries[3] | {"_id": place}
    assert await both(world) == expected


@pytest.mark.parametrize("body", [b"", b"not JSON", b"{}", b"[]", b'{"number":2}', b'{"number":1,"headSeq":7}'])
async def test_both_refuse_a_copy_that_is_no_checkpoint(body: bytes) -> None:
    world = untouched().copy()
    first, *_ = sorted(world.bucket.objects)
    world.bucket = MemoryBucket({**world.bucket.objects, first: body})
    named = 7 if b"headSeq" in body and body == canonical(json.loads(body)) else 0
    assert await both(world) == ("checkpoint-signature-mismatch", named, 1)
