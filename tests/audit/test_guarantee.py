"""The guarantee: what is changed at or before the newest witnessed checkpoint is found and named, and nothing else is.

The attacker may write every collection of MongoDB, keys of data included, and knows everything but the signing keys.
`make torture` does every operator at each of the 1,000 positions; here each is done at a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from services.audit.canonical import GENESIS
from services.audit.chain import link
from services.audit.facts import interpret
from services.audit.models import Fact, Head
from services.audit.personal import KeyRing, Vault, commit_fact
from services.audit.verifications.places import Scope
from shared.testing import ManualClock
from tests.audit.events import PERSONAL_KEY, encode, registered, type_of
from tests.audit.memory import (
    SEED,
    MemoryCheckpoints,
    MemoryLog,
    Row,
    bucket_of,
    checkpoint,
    signatures,
    verify,
    witness_in,
)
from tests.audit.operators import ALTERED_CHECKPOINT, EVERY, LENGTH, OPERATORS, World, unwitnessed
from tests.torture.kept import keep, kept

FEW = (103, 300)
AT_THE_END = (
    *("delete", "edit_with_its_own_hash", "delete_and_rehash_everything", "remove_a_checkpoint"),
    *("cut_the_tail_with_head_and_checkpoints", "add_a_checkpoint_between"),
)
VAULT = Vault(PERSONAL_KEY)


def light(number: int) -> Fact:
    """A fact without anything personal: most entries have none, so that 1,000 are verified in milliseconds."""
    nothing = dict.fromkeys(("actorId", "actorEmail", "actorIp", "surface"))
    fields = nothing | {
        "id": f"light-{number}",
        "at": "2026-11-22T12:00:00.000Z",
        "actorType": "system",
        "action": "tenant.updated",
        "outcome": "success",
        "resourceType": "tenant",
        "resourceId": "acme",
        "resourceName": f"Acme {number}",
        "tenantSlug": "acme",
        "partnerSlug": "nordic",
        "source": "tenant",
        "metadata": {"type": "tenant.updated.v1", "sourceSeq": number},
    }
    return Fact(fields=fields)


def fact(number: int) -> Fact:
    """Every tenth is a person's."""
    (payload,) = encode(registered(number))
    return interpret(type_of(payload), payload, ManualClock().now()) if number % 10 == 3 else light(number)


@cache
def untouched() -> World:
    """1,000 entries, and a witnessed checkpoint after every hundred."""
    ring = KeyRing(VAULT, [])
    entries = link(Head(0, GENESIS), [commit_fact(fact(number), ring) for number in range(1, LENGTH + 1)])
    rows = checkpoints([entry["hash"] for entry in entries], range(EVERY, LENGTH + 1, EVERY))
    return World(MemoryLog(entries, ring.created, batch=64), MemoryCheckpoints(rows), bucket_of(rows))


def checkpoints(hashes: Sequence[str], ends: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    for number, end in enumerate(ends, start=1):
        rows.append(checkpoint(number, hashes[:end], rows[-1] if rows else None, SEED))
    return rows


async def attack(name: str, positions: Sequence[int]) -> int:
    """How often an operator changed something; each time it must be found, and named as it says."""
    done = 0
    for position in positions:
        world = untouched().copy()
        expected = OPERATORS[name](world, position)
        if expected is None:
            continue
        done += 1
        verdict = await verify(world.log, VAULT, world.stored, world.bucket)
        broken = verdict.broken
        assert broken is not None, f"{name} at {position} was not found"
        assert (broken.kind, broken.seq) == expected, f"{name} at {position}: {broken}"
        assert verdict.verified <= LENGTH
    return done


def test_there_are_more_than_thirty_operators() -> None:
    assert len(OPERATORS) >= 30


async def test_the_untouched_log_holds_to_its_end() -> None:
    world = untouched()
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert (verdict.broken, verdict.verified, verdict.checkpoints) == (None, LENGTH, LENGTH // EVERY)
    assert (verdict.findings, verdict.witnessed_seq) == ((), LENGTH)


@pytest.mark.parametrize("name", OPERATORS)
async def test_an_attack_is_found_and_named(name: str) -> None:
    assert await attack(name, FEW)


@pytest.mark.parametrize("name", AT_THE_END)
async def test_an_attack_on_the_last_entry_is_found_and_named(name: str) -> None:
    assert await attack(name, (LENGTH,))


@pytest.mark.torture
@pytest.mark.parametrize("name", OPERATORS)
async def test_an_attack_at_each_position_is_found_and_named(name: str) -> None:
    done = await attack(name, range(1, LENGTH + 1))
    assert done >= LENGTH // 10
    told = {**kept("guarantee").get("found", {}), name: done}
    keep("guarantee", {"entries": LENGTH, "operators": len(told), "attacks": sum(told.values()), "found": told})


@pytest.mark.parametrize("name", ["edit_outcome", "delete", "edit_and_rehash_everything"])
async def test_an_attack_within_a_range_is_found_by_verifying_the_range(name: str) -> None:
    world = untouched().copy()
    expected = OPERATORS[name](world, 555)
    verdict = await verify(world.log, VAULT, world.stored, world.bucket, Scope(501, 580))
    assert verdict.broken is not None
    assert (verdict.broken.kind, verdict.broken.seq) == expected


async def test_the_limit_what_no_witnessed_checkpoint_signs_can_be_written_anew() -> None:
    """After the newest checkpoint of the witness, a tail that is recomputed to its end is not told from a true one."""
    world = unwitnessed(untouched().copy(), LENGTH // EVERY - 1)
    position = LENGTH - EVERY + 1
    world.edit_and_rehash(position)
    world.drop_checkpoints(LENGTH // EVERY)
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert (verdict.broken, verdict.witnessed_seq) == (None, position - 1)


async def test_one_entry_before_the_limit_it_is_found() -> None:
    world = unwitnessed(untouched().copy(), LENGTH // EVERY - 1)
    position = LENGTH - EVERY
    world.edit_and_rehash(position)
    world.drop_checkpoints(LENGTH // EVERY)
    broken = (await verify(world.log, VAULT, world.stored, world.bucket)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("checkpoint-signature-mismatch", position)


async def test_beyond_the_witness_a_signed_checkpoint_still_shows_a_tail_that_was_recomputed() -> None:
    world = unwitnessed(untouched().copy(), LENGTH // EVERY - 1)
    world.edit_and_rehash(LENGTH - EVERY + 1)
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert verdict.broken is not None
    assert (verdict.broken.kind, verdict.broken.checkpoint) == ("checkpoint-signature-mismatch", 10)
    assert verdict.findings == ("checkpoints 10 to 10 are not witnessed yet",)


async def prefix(count: int) -> World:
    """The log as it was when it had so many entries."""
    whole = untouched()
    entries = [whole.log.entries[number] for number in range(1, count + 1)]
    log = MemoryLog(entries, list(whole.log.keys.values()), batch=7)
    rows = [row for row in whole.stored.rows_by_id.values() if row["headSeq"] <= count]
    return World(log, MemoryCheckpoints(rows), bucket_of(rows))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
async def test_no_length_of_the_log_raises_a_false_alarm(count: int) -> None:
    world = await prefix(count)
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert (verdict.broken, verdict.verified, verdict.findings) == (None, count, ())


@pytest.mark.torture
async def test_no_length_at_all_raises_a_false_alarm() -> None:
    for count in range(LENGTH + 1):
        await test_no_length_of_the_log_raises_a_false_alarm(count)
    keep("false_alarms", {"lengths": LENGTH + 1, "alarms": 0})


@pytest.mark.parametrize(
    ("first", "last"), [(1, 1), (1, 100), (2, 100), (100, 101), (101, 200), (950, 1000), (7, None)]
)
async def test_no_range_raises_a_false_alarm(first: int, last: int | None) -> None:
    world = untouched()
    verdict = await verify(world.log, VAULT, world.stored, world.bucket, Scope(first, last))
    end = LENGTH if last is None else -(-last // EVERY) * EVERY
    assert (verdict.broken, verdict.after, verdict.verified) == (None, first - 1, end - first + 1)


async def test_without_the_witness_the_signatures_in_mongodb_are_checked_all_the_same() -> None:
    world = untouched().copy()
    world.edit_and_rehash(250)
    broken = (await verify(world.log, VAULT, world.stored)).broken
    assert broken is not None
    assert (broken.kind, broken.seq, broken.checkpoint) == ("checkpoint-signature-mismatch", 300, 3)


# The note is not among the signed bytes: it carries signatures of its own.
@pytest.mark.parametrize("name", [f"edit_checkpoint_{name}" for name in ALTERED_CHECKPOINT if name != "note"])
async def test_without_the_witness_an_edited_checkpoint_has_no_signature(name: str) -> None:
    world = untouched().copy()
    expected = OPERATORS[name](world, 250)
    broken = (await verify(world.log, VAULT, world.stored)).broken
    assert broken is not None
    assert (broken.kind, broken.seq if name != "edit_checkpoint_headSeq" else 300) == expected
    assert broken.checkpoint == 3


@pytest.mark.parametrize(
    "changed",
    [{"rootHash": "a" * 64}, {"prevCheckpointHash": "a" * 64}, {"headHash": "a" * 64}, {"headSeq": 200}],
    ids=str,
)
async def test_what_is_signed_well_and_does_not_fit_is_named(changed: dict[str, Any]) -> None:
    """A service that signs what is wrong is found by the same walk."""
    world = untouched().copy()
    row = world.stored.rows_by_id[3] | changed
    world.stored.rows_by_id[3] = row | {"signatures": signatures(row)}
    broken = (await verify(world.log, VAULT, world.stored)).broken
    assert broken is not None
    assert (broken.kind, broken.checkpoint, broken.field) == ("checkpoint-signature-mismatch", 3, *changed)


async def test_a_witness_that_is_away_is_a_finding_and_no_break() -> None:
    world = untouched().copy()
    world.bucket = bucket_of(world.stored.rows_by_id.values())
    world.bucket.away = True
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert (verdict.broken, verdict.witnessed_seq) == (None, None)
    assert verdict.findings == ("the witness is away: the object store is away",)


async def test_a_witness_that_goes_away_in_the_middle_is_a_finding_and_no_break() -> None:
    world = untouched().copy()
    world.bucket = bucket_of(world.stored.rows_by_id.values())
    world.bucket.answers_left = 4
    verdict = await verify(world.log, VAULT, world.stored, world.bucket)
    assert (verdict.broken, verdict.verified) == (None, LENGTH)
    assert verdict.findings == ("the witness went away at checkpoint 1: the object store is away",)


async def test_the_witness_alone_is_enough_when_mongodb_is_not_asked_for_checkpoints() -> None:
    from services.audit.verifications.sources import Checkpoints
    from services.audit.verifications.verification import Verification
    from tests.audit.memory import keys

    world = untouched().copy()
    alone = Checkpoints(keys(), None, witness_in(world.bucket))
    verdict = await Verification(world.log, alone, VAULT).run()
    assert (verdict.broken, verdict.checkpoints, verdict.findings) == (None, LENGTH // EVERY, ())
    world.edit_and_rehash(LENGTH)
    broken = (await Verification(world.log, Checkpoints(keys(), None, witness_in(world.bucket)), VAULT).run()).broken
    assert broken is not None
    assert broken.kind == "checkpoint-signature-mismatch"
