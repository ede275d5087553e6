"""Tampering by somebody who may write all of MongoDB: every field, every position, and what is cut, added or moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from services.audit.canonical import FIELDS
from services.audit.chain import Appended
from services.audit.models import Break
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.verifier import verify
from shared.mongo import Database
from tests.audit.events import JANE, encode, refused, registered, suspended, tenant_event

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
LENGTH = 6
POSITIONS = range(1, LENGTH + 1)
ALTERED: dict[str, Any] = {
    "v": 2,
    "seq": 77,
    "id": "another",
    "at": "2026-11-22T12:00:00.999Z",
    "actorType": "service",
    "actorId": "somebody-else",
    "actorEmail": {"$commit": "0" * 64},
    "actorIp": {"$commit": "0" * 64},
    "surface": "console",
    "action": "tenant.deleted",
    "outcome": "undecided",
    "resourceType": "partner",
    "resourceId": "another",
    "resourceName": "Another",
    "tenantSlug": "another",
    "partnerSlug": "another",
    "source": "billing",
    "metadata": {},
    "prevHash": "0" * 63 + "1",
    "hash": "f" * 64,
    "actions": ["tenant.deleted", "tenant.*"],
    "actorEmailHmac": "f" * 64,
    "sealed": [],
}


@pytest.fixture
async def log(chain: Chain, root_db: Database) -> Database:
    """Six entries of every kind: changes, a person, a stranger, and bytes that nobody can read."""
    events = encode(
        tenant_event(1), suspended(2), registered(3), refused(1, id="refused-1"), tenant_event(4)
    )
    await chain([*events[:4], b"not JSON", events[4]])
    assert await root_db["entries"].count_documents({}) == LENGTH
    return root_db


async def found(repository: AuditRepository, vault: Vault) -> Break:
    verdict = await verify(repository, vault)
    assert verdict.broken is not None
    return verdict.broken


async def entry_at(log: Database, position: int) -> dict[str, Any]:
    entry = await log["entries"].find_one({"_id": position})
    assert entry is not None
    return dict(entry)


async def put(log: Database, entry: dict[str, Any]) -> None:
    await log["entries"].replace_one({"_id": entry["_id"]}, entry)


def rehashed(entry: dict[str, Any]) -> dict[str, Any]:
    """The attacker's own hash, by the document: member names are ASCII here, so sorted JSON is canonical."""
    content = {name: entry[name] for name in FIELDS}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return entry | {"hash": hashlib.sha256(text.encode()).hexdigest()}


async def test_the_untouched_log_holds(log: Database, repository: AuditRepository, vault: Vault) -> None:
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.verified, verdict.findings) == (None, LENGTH, ())


def test_every_stored_member_is_altered_somewhere() -> None:
    assert set(ALTERED) == {*FIELDS, "hash", "actions", "actorEmailHmac", "sealed"}


@pytest.mark.parametrize("field", ALTERED)
async def test_an_edit_of_any_field_at_any_position_is_named(
    field: str, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    kinds = {"seq": "seq-gap", "prevHash": "event-prev-hash-mismatch"}
    for position in POSITIONS:
        original = await entry_at(log, position)
        await put(log, original | {field: ALTERED[field]})
        broken = await found(repository, vault)
        assert (broken.kind, broken.seq) == (kinds.get(field, "event-hash-mismatch"), position)
        await put(log, original)
    assert (await verify(repository, vault)).broken is None


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in {"seq", "prevHash"}])
async def test_an_edit_with_its_hash_recomputed_breaks_the_next_entry_or_the_head(
    field: str, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    for position in (1, 4, LENGTH):
        original = await entry_at(log, position)
        altered = rehashed(original | {field: ALTERED[field]})
        if field == "action":
            altered["actions"] = ALTERED["actions"]
        await put(log, altered)
        broken = await found(repository, vault)
        named_at_once = (broken.kind, broken.seq) == ("event-hash-mismatch", position)
        named_after = (broken.kind, broken.seq) == ("event-prev-hash-mismatch", position + 1)
        at_the_head = position == LENGTH and (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
        assert named_at_once or named_after or at_the_head
        await put(log, original)


@pytest.mark.parametrize("field", [*FIELDS, "hash", "actions", "actorEmailHmac", "sealed"])
async def test_a_removed_member_is_named(
    field: str, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["entries"].update_one({"_id": 3}, {"$unset": {field: ""}})
    assert (await found(repository, vault)).seq == 3


async def test_an_added_member_is_named(log: Database, repository: AuditRepository, vault: Vault) -> None:
    await log["entries"].update_one({"_id": 3}, {"$set": {"note": "approved"}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", 3, "note")


@pytest.mark.parametrize("value", [1.0, True, "1", None])
async def test_a_number_of_another_type_is_named(
    value: object, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["entries"].update_one({"_id": 1}, {"$set": {"v": value}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 1)


@pytest.mark.parametrize("position", POSITIONS)
async def test_a_deleted_entry_is_a_gap_and_at_the_end_a_truncated_tail(
    position: int, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["entries"].delete_one({"_id": position})
    broken = await found(repository, vault)
    if position == LENGTH:
        assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
    else:
        assert (broken.kind, broken.seq, broken.expected, broken.actual) == (
            "seq-gap",
            position,
            str(position),
            str(position + 1),
        )


async def test_a_deleted_entry_with_all_later_ones_renumbered_is_named(
    log: Database, repository: AuditRepository, vault: Vault
) -> None:
    later = [await entry_at(log, position) for position in range(4, LENGTH + 1)]
    await log["entries"].delete_many({"_id": {"$gte": 3}})
    await log["entries"].insert_many([entry | {"_id": entry["seq"] - 1, "seq": entry["seq"] - 1} for entry in later])
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq) == ("event-prev-hash-mismatch", 3)


@pytest.mark.parametrize("position", [0, 3.5, LENGTH + 1])
async def test_an_inserted_entry_is_named(
    position: float, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    copy = await entry_at(log, 3)
    await log["entries"].insert_one(copy | {"_id": position, "seq": position, "id": "invented"})
    broken = await found(repository, vault)
    if position > LENGTH:
        assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)
    else:
        assert (broken.kind, broken.seq) == ("seq-gap", 1 if position == 0 else 4)


@pytest.mark.parametrize("position", range(1, LENGTH))
async def test_two_entries_that_changed_places_are_named(
    position: int, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    first, second = await entry_at(log, position), await entry_at(log, position + 1)
    await log["entries"].delete_many({"_id": {"$in": [position, position + 1]}})
    await log["entries"].insert_many([second | {"_id": position}, first | {"_id": position + 1}])
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq) == ("seq-gap", position)


@pytest.mark.parametrize("position", range(1, LENGTH))
async def test_two_entries_that_changed_places_and_numbers_are_named(
    position: int, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    first, second = await entry_at(log, position), await entry_at(log, position + 1)
    await log["entries"].delete_many({"_id": {"$in": [position, position + 1]}})
    moved = [
        second | {"_id": position, "seq": position},
        first | {"_id": position + 1, "seq": position + 1},
    ]
    await log["entries"].insert_many(moved)
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq) == ("event-prev-hash-mismatch", position)


@pytest.mark.parametrize("kept", range(LENGTH))
async def test_a_cut_tail_is_named(
    kept: int, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["entries"].delete_many({"_id": {"$gt": kept}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq) == ("truncated-tail", LENGTH)


@pytest.mark.parametrize(
    "head", [{"seq": 3}, {"seq": LENGTH + 1}, {"hash": "0" * 64}, {"seq": 0, "hash": "0" * 64}], ids=str
)
async def test_a_changed_head_is_named(
    head: dict[str, Any], log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["heads"].update_one({"_id": "chain"}, {"$set": head})
    assert (await found(repository, vault)).kind == "truncated-tail"


async def test_a_head_set_back_to_a_true_earlier_entry_is_named(
    log: Database, repository: AuditRepository, vault: Vault
) -> None:
    earlier = await entry_at(log, 4)
    await log["heads"].update_one({"_id": "chain"}, {"$set": {"seq": 4, "hash": earlier["hash"]}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq, broken.actual) == ("truncated-tail", 4, "entries up to 6")


async def test_a_removed_head_is_named(log: Database, repository: AuditRepository, vault: Vault) -> None:
    await log["heads"].delete_one({"_id": "chain"})
    assert (await found(repository, vault)).kind == "truncated-tail"


async def test_a_box_of_another_entry_is_named(log: Database, repository: AuditRepository, vault: Vault) -> None:
    other = await entry_at(log, 6)
    await log["entries"].update_one({"_id": 1}, {"$set": {"sealed": other["sealed"]}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", 1, "sealed")


@pytest.mark.parametrize("position", POSITIONS)
async def test_a_flipped_bit_in_a_box_is_named(
    position: int, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    entry = await entry_at(log, position)
    box = bytearray(entry["sealed"][0]["box"])
    box[-1] ^= 1
    await log["entries"].update_one({"_id": position}, {"$set": {"sealed.0.box": bytes(box)}})
    broken = await found(repository, vault)
    assert (broken.kind, broken.seq, broken.field) == ("event-hash-mismatch", position, "sealed")


async def test_a_box_of_a_foreign_owner_is_named(log: Database, repository: AuditRepository, vault: Vault) -> None:
    await log["person_keys"].insert_one({"_id": "person:erased"})
    await log["entries"].update_one({"_id": 1}, {"$set": {"sealed.0.owner": "person:erased"}})
    broken = await found(repository, vault)
    assert (broken.seq, broken.field) == (1, "sealed")


async def test_an_altered_data_key_is_named(log: Database, repository: AuditRepository, vault: Vault) -> None:
    await log["person_keys"].update_one({"_id": f"person:{JANE}"}, {"$set": {"wrapped": b"\0" * 60}})
    broken = await found(repository, vault)
    assert (broken.seq, broken.field) == (1, "sealed")


async def test_a_data_key_that_is_gone_without_an_erasure_is_a_finding(
    log: Database, repository: AuditRepository, vault: Vault
) -> None:
    await log["person_keys"].delete_one({"_id": f"person:{JANE}"})
    verdict = await verify(repository, vault)
    assert verdict.broken is None
    assert verdict.findings == (f"the data key of person:{JANE} is missing, and no erasure is recorded",)


async def test_the_limit_everything_recomputed_to_the_end_and_the_head_is_not_found(
    log: Database, repository: AuditRepository, vault: Vault
) -> None:
    """What the chain alone cannot tell, by the document; checkpoints outside the database will."""
    previous = ""
    for position in range(2, LENGTH + 1):
        entry = await entry_at(log, position)
        if position == 2:
            entry["outcome"] = "denied"
        else:
            entry["prevHash"] = previous
        entry = rehashed(entry)
        previous = entry["hash"]
        await put(log, entry)
    await log["heads"].update_one({"_id": "chain"}, {"$set": {"hash": previous}})
    assert (await verify(repository, vault)).broken is None


async def test_entries_appended_during_a_verification_are_no_alarm(
    chain: Chain, log: Database, repository: AuditRepository, vault: Vault
) -> None:
    class Appending(AuditRepository):
        """Appends between the reading of the head and of the entries, and again after the walk."""

        number = 10

        async def walk(self, up_to: int) -> Any:
            await self._more()
            async for batch in super().walk(up_to):
                yield batch
            await self._more()

        async def _more(self) -> None:
            self.number += 1
            await chain(encode(tenant_event(self.number)))

    verdict = await verify(Appending(log), vault)
    assert (verdict.broken, verdict.verified, verdict.head_seq) == (None, LENGTH, LENGTH)


async def test_an_empty_log_holds(repository: AuditRepository, vault: Vault) -> None:
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.verified, verdict.head_seq, verdict.oldest_seq) == (None, 0, 0, None)
