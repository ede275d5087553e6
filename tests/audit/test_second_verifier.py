"""Two verifiers, one document: they agree with its worked examples, and with each other on every log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.checkpoints.keys import CheckpointKeys
from services.audit.verifications.sources import Checkpoints
from services.audit.verifications.verification import Verification
from tests.audit.events import PERSONAL_KEY
from tests.audit.memory import SECRET, SEED, keys, witness_in
from tests.audit.operators import LENGTH, OPERATORS, World
from tests.audit.second_boxes import address_tag, commitment
from tests.audit.second_canonical import canonical, content_hash
from tests.audit.second_verifier import Break, Evidence, Key, forms, leaf, signed_bytes, verify
from tests.audit.test_guarantee import VAULT, untouched

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
    for line, digest, _, _, copy in EXAMPLES.checkpoints:
        assert signed_bytes(json.loads(copy)) == line.encode()
        assert hashlib.sha256(line.encode()).hexdigest() == digest
        assert canonical(json.loads(copy)) == copy.encode()


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

# An early break is cheap to find. At every entry of the log: `make torture`.
POSITIONS = (1, 100)
SERVICE_KEYS = (
    Key("HMAC-SHA-256", SECRET),
    Key("Ed25519", Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()),
)
Place = tuple[str, int | None, int | None] | None


def evidence_of(world: World, keys: Sequence[Key] = SERVICE_KEYS) -> Evidence:
    """What the second verifier is given of a world."""
    head = world.log.chain_head
    return Evidence(
        entries=[world.log.entries[number] for number in sorted(world.log.entries)],
        head=None if head is None else {"_id": "chain", "seq": head.seq, "hash": head.hash},
        checkpoints=[world.stored.rows_by_id[number] for number in sorted(world.stored.rows_by_id)],
        witness={int(key[12:24]): body for key, body in world.bucket.objects.items()},
        keys=keys,
        person_keys=list(world.log.keys.values()),
        personal=PERSONAL_KEY,
    )


async def both(world: World, service: CheckpointKeys | None = None, second: Sequence[Key] = SERVICE_KEYS) -> Place:
    """What both verifiers say: the kind, the place and the checkpoint. They must say the same."""
    verification = Verification(
        world.log, Checkpoints(service or keys(), world.stored, witness_in(world.bucket)), VAULT
    )
    first, other = (await verification.run()).broken, verify(evidence_of(world, second))
    place = None if first is None else (first.kind, first.seq, first.checkpoint)
    assert place == _place(other), f"the product says {first}, the document {other!r}"
    return place


def _place(found: Break | None) -> Place:
    if found is None:
        return None
    return found.kind, found.seq if found.head_seq is None else found.head_seq, found.checkpoint


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
    assert await attack(name, POSITIONS)


@pytest.mark.torture
@pytest.mark.parametrize("name", OPERATORS)
async def test_both_name_the_same_break_wherever_it_is(name: str) -> None:
    assert await attack(name, range(1, LENGTH + 1, 37)) > 5
