"""Tampering by somebody who may write all of MongoDB: every field, every position, and what is cut, added or moved."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from services.audit.canonical import FIELDS
from services.audit.chain import link
from services.audit.facts import interpret
from services.audit.models import Break, Head
from services.audit.personal import KeyRing, Vault, commit_fact, seal
from shared.testing import ManualClock
from tests.audit.events import JANE, encode, refused, registered, suspended, tenant_event, type_of
from tests.audit.memory import MemoryLog, verify
from tests.audit.operators import ALTERED

LENGTH = 6
POSITIONS = range(1, LENGTH + 1)


@pytest.fixture
def log(vault: Vault) -> MemoryLog:
    """Six entries of every kind: changes, a person, a stranger, and bytes that nobody can read."""
    events = [tenant_event(1), suspended(2), registered(3), refused(1, id="refused-1"), tenant_event(4)]
    payloads = encode(*events)
    payloads.insert(4, b"not JSON")
    ring = KeyRing(vault, [])
    now = ManualClock().now()
    facts = [interpret(type_of(payload), payload, now) for payload in payloads]
    return MemoryLog(link(Head(), [commit_fact(fact, ring) for fact in facts]), ring.created)


async def found(log: MemoryLog, vault: Vault) -> Break:
    verdict = await verify(log, vault)
    assert verdict.broken is not None
    return verdict.broken


def rehashed(entry: dict[str, Any]) -> dict[str, Any]:
    """The attacker's own hash, by the document: member names are ASCII here, so sorted JSON is canonical."""
    content = {name: entry[name] for name in FIELDS}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return entry | {"hash": hashlib.sha256(text.encode()).hexdigest()}


async def test_the_untouched_log_holds(log: MemoryLog, vault: Vault) -> None:
    verdict = await verify(log, vault)
    assert (verdict.broken, verdict.verified, verdict.findings) == (None, LENGTH, ())


def test_every_stored_member_is_altered_somewhere() -> None:
    assert set(ALTERED) == {*FIELDS, "hash", "actions", "actorEmailHmac", "sealed"}


@pytest.mark.parametrize("field", ALTERED)
async def test_an_edit_of_any_field_at_any_position_is_named(field: str, log: MemoryLog, vault: Vault) -> None:
    kinds = {"seq": "seq-gap", "prevHash": "event-prev-hash-mismatch"}
    for position in POSITIONS:
        original = dict(log.entries[position])
        log.entries[position] = original | {field: ALTERED[field]}
        broken = await found(log, vault)
        assert (broken.kind, broken.seq) == (kinds.get(field, "event-hash-mismatch"), position)
        log.entries[position] = original
    assert (await verify(log, vault)).broken is None


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in {"seq", "prevHash"}])
async def test_an_edit_with_its_hash_recomputed_breaks_the_next_entry_or_the_head(
    field: str, log: MemoryLog, vault: Vault
) -> None:
    for position in (1, 4, LENGTH):
        original = dict(log.entries[position])
        altered = rehashed(original | {field: ALTERED[field]})
        if field == "action":
            altered["actions"] = ALTERED["actions"]
        log.entries[position] = altered
        broken = await found(log, vault)
        named_at_once = (broken.kind, broken.seq) == ("event-hash-mismatch", position)
        named_after = (broken.kind, broken.seq) == ("event-prev-hash-mismatch", position + 1)
        at_the_head = position == LENGTH and (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
        assert named_at_once or named_after or at_the_head
        log.entries[position] = original


@pytest.mark.parametrize("field", [*FIELDS, "hash", "actions", "actorEmailHmac", "sealed"])
async def test_a_removed_member_is_named(field: str, log: MemoryLog, vault: Vault) -> None:
    del log.entries[3][field]
    assert (await found(log, vault)).seq == 3


async def test_an_added_member_is_named(log: MemoryLog, vault: Vault) -> None:
    log.entries[3]["note"] = "approved"
    broken = await found(log, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", 3, "note")


@pytest.mark.parametrize("value", [1.0, True, "1", None])
async def test_a_number_of_another_type_is_named(value: object, log: MemoryLog, vault: Vault) -> None:
    log.entries[1]["v"] = value
    broken = await found(log, vault)
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 1)


@pytest.mark.parametrize("position", POSITIONS)
async def test_a_deleted_entry_is_a_gap_and_at_the_end_a_truncated_tail(
    position: int, log: MemoryLog, vault: Vault
) -> None:
    del log.entries[position]
    broken = await found(log, vault)
    if position == LENGTH:
        assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
    else:
        assert (broken.kind, broken.seq, broken.expected, broken.actual) == (
            "seq-gap",
            position,
            str(position),
            str(position + 1),
        )


async def test_a_deleted_entry_with_all_later_ones_renumbered_is_named(log: MemoryLog, vault: Vault) -> None:
    for position in range(3, LENGTH):
        log.entries[position] = log.entries[position + 1] | {"_id": position, "seq": position}
    del log.entries[LENGTH]
    broken = await found(log, vault)
    assert (broken.kind, broken.seq) == ("event-prev-hash-mismatch", 3)


@pytest.mark.parametrize("position", [0, 3.5, LENGTH + 1])
async def test_an_inserted_entry_is_named(position: float, log: MemoryLog, vault: Vault) -> None:
    copy = dict(log.entries[3])
    log.entries[position] = copy | {"_id": position, "seq": position, "id": "invented"}
    broken = await found(log, vault)
    if position > LENGTH:
        assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
    else:
        assert (broken.kind, broken.seq) == ("seq-gap", 1 if position == 0 else 4)


@pytest.mark.parametrize("position", range(1, LENGTH))
async def test_two_entries_that_changed_places_are_named(position: int, log: MemoryLog, vault: Vault) -> None:
    first, second = dict(log.entries[position]), dict(log.entries[position + 1])
    log.entries[position] = second | {"_id": position}
    log.entries[position + 1] = first | {"_id": position + 1}
    broken = await found(log, vault)
    assert (broken.kind, broken.seq) == ("seq-gap", position)


@pytest.mark.parametrize("position", range(1, LENGTH))
async def test_two_entries_that_changed_places_and_numbers_are_named(
    position: int, log: MemoryLog, vault: Vault
) -> None:
    first, second = dict(log.entries[position]), dict(log.entries[position + 1])
    log.entries[position] = second | {"_id": position, "seq": position}
    log.entries[position + 1] = first | {"_id": position + 1, "seq": position + 1}
    broken = await found(log, vault)
    assert (broken.kind, broken.seq) == ("event-prev-hash-mismatch", position)


@pytest.mark.parametrize("kept", range(LENGTH))
async def test_a_cut_tail_is_named(kept: int, log: MemoryLog, vault: Vault) -> None:
    for position in range(kept + 1, LENGTH + 1):
        del log.entries[position]
    broken = await found(log, vault)
    assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)


@pytest.mark.parametrize(
    "head", [{"seq": 3}, {"seq": LENGTH + 1}, {"hash": "0" * 64}, {"seq": 0, "hash": "0" * 64}], ids=str
)
async def test_a_changed_head_is_named(head: dict[str, Any], log: MemoryLog, vault: Vault) -> None:
    assert log.chain_head is not None
    log.chain_head = replace(log.chain_head, **head)
    assert (await found(log, vault)).kind == "truncated-tail"


async def test_a_head_set_back_to_a_true_earlier_entry_is_named(log: MemoryLog, vault: Vault) -> None:
    log.chain_head = Head(4, log.entries[4]["hash"])
    broken = await found(log, vault)
    assert (broken.kind, broken.seq, broken.actual) == ("truncated-tail", 4, "entries up to 6")


async def test_a_removed_head_is_named(log: MemoryLog, vault: Vault) -> None:
    log.chain_head = None
    assert (await found(log, vault)).kind == "truncated-tail"


async def test_a_box_of_another_entry_is_named(log: MemoryLog, vault: Vault) -> None:
    log.entries[1]["sealed"] = log.entries[6]["sealed"]
    broken = await found(log, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", 1, "sealed")


@pytest.mark.parametrize("position", POSITIONS)
async def test_a_flipped_bit_in_a_box_is_named(position: int, log: MemoryLog, vault: Vault) -> None:
    (sealed, *_) = log.entries[position]["sealed"]
    sealed["box"] = sealed["box"][:-1] + bytes([sealed["box"][-1] ^ 1])
    broken = await found(log, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", position, "sealed")


@pytest.mark.parametrize(
    "content",
    [
        {"/actorEmail": (b"s" * 32, "framed@nordic.example"), "/actorIp": (b"s" * 32, "203.0.113.7")},
        {},
    ],
    ids=["other values", "no values"],
)
async def test_a_box_sealed_anew_by_who_holds_the_keys_is_named(
    content: dict[str, tuple[bytes, str]], log: MemoryLog, vault: Vault
) -> None:
    owner = f"person:{JANE}"
    key = vault.unwrap(owner, log.keys[owner]["wrapped"])
    (sealed,) = (item for item in log.entries[1]["sealed"] if item["owner"] == owner)
    sealed["box"] = seal(key, owner, log.entries[1]["id"], content)
    broken = await found(log, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", 1, "sealed")


async def test_a_box_of_a_foreign_owner_is_named(log: MemoryLog, vault: Vault) -> None:
    log.keys["person:erased"] = {"_id": "person:erased"}
    log.entries[1]["sealed"][0]["owner"] = "person:erased"
    broken = await found(log, vault)
    assert (broken.seq, broken.field) == (1, "sealed")


async def test_an_altered_data_key_is_named(log: MemoryLog, vault: Vault) -> None:
    log.keys[f"person:{JANE}"]["wrapped"] = b"\0" * 60
    broken = await found(log, vault)
    assert (broken.seq, broken.field) == (1, "sealed")


async def test_a_data_key_that_is_gone_without_an_erasure_is_a_finding(log: MemoryLog, vault: Vault) -> None:
    del log.keys[f"person:{JANE}"]
    verdict = await verify(log, vault)
    assert verdict.broken is None
    assert verdict.findings == (f"the data key of person:{JANE} is missing, and no erasure is recorded",)


async def test_the_limit_everything_recomputed_to_the_end_and_the_head_is_not_found(
    log: MemoryLog, vault: Vault
) -> None:
    """What the chain alone cannot tell, by the document; checkpoints outside the database will."""
    previous = ""
    for position in range(2, LENGTH + 1):
        entry = dict(log.entries[position])
        if position == 2:
            entry["outcome"] = "denied"
        else:
            entry["prevHash"] = previous
        entry = rehashed(entry)
        previous = entry["hash"]
        log.entries[position] = entry
    log.chain_head = Head(LENGTH, previous)
    assert (await verify(log, vault)).broken is None


async def test_an_empty_log_holds(vault: Vault) -> None:
    verdict = await verify(MemoryLog([], []), vault)
    assert (verdict.broken, verdict.verified, verdict.head_seq, verdict.oldest_seq) == (None, 0, 0, None)
