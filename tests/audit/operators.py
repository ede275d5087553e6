"""What an attacker who may write all of MongoDB can do to a signed log, each at a position; and what must be found.

A world has `length` entries and a checkpoint after each `every`, all of them witnessed. An operator changes the world
and says which kind of break must be named, at which entry; None where it changes nothing at this position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from services.audit.canonical import FIELDS
from services.audit.models import Head, Stored
from tests.audit.memory import (
    OTHER_SECRET,
    OTHER_SEED,
    MemoryBucket,
    MemoryCheckpoints,
    MemoryLog,
    Row,
    checkpoint,
    rehashed,
    signatures,
)

LENGTH = 1_000
EVERY = 100

SIGNATURE = "checkpoint-signature-mismatch"
CONTENT = "event-hash-mismatch"
LINK = "event-prev-hash-mismatch"
GAP = "seq-gap"
TAIL = "truncated-tail"

Found = tuple[str, int]

ALTERED: dict[str, Any] = {
    "v": 2,
    "seq": 7_777,
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
ALTERED_CHECKPOINT: dict[str, Any] = {
    "at": "2026-11-22T12:00:00.999Z",
    "headSeq": 55,
    "headHash": "f" * 64,
    "rootHash": "f" * 64,
    "prevCheckpointHash": "f" * 64,
    "reason": "startup",
    "note": "another",
}


@dataclass
class World:
    """All of MongoDB, and the witness that its writer cannot touch."""

    log: MemoryLog
    stored: MemoryCheckpoints
    bucket: MemoryBucket
    length: int = LENGTH
    every: int = EVERY

    def copy(self) -> World:
        return replace(self, log=self.log.copy(), stored=self.stored.copy())

    # what an attacker does

    def cut(self, position: int) -> None:
        for number in range(position, self.length + 1):
            del self.log.entries[number]

    def set_head(self, seq: int) -> None:
        digest = self.log.entries[seq]["hash"] if seq else "0" * 64
        self.log.chain_head = Head(seq, digest)

    def rehash(self, position: int) -> None:
        """Compute every link and hash from `position` on."""
        previous = self.log.entries[position - 1]["hash"] if position > 1 else "0" * 64
        for number in range(position, int(max(self.log.entries)) + 1):
            self.log.entries[number] = rehashed(self.log.entries[number] | {"prevHash": previous})
            previous = self.log.entries[number]["hash"]

    def edit_and_rehash(self, position: int) -> None:
        self.log.entries[position] = self.log.entries[position] | {"source": "billing"}
        self.rehash(position)
        self.set_head(self.length)

    def sign_again(self, position: int, **with_: Any) -> None:
        """Make the checkpoints from that of `position` on fit the entries as they are now."""
        hashes = [self.log.entries[number]["hash"] for number in sorted(self.log.entries)]
        for number in range(self.covering(position), self.length // self.every + 1):
            before = self.stored.rows_by_id.get(number - 1)
            made = checkpoint(
                number, hashes[: number * self.every], before, *with_.get("seeds", ()), secret=with_["secret"]
            )
            if with_.get("old_signatures"):
                made["signatures"] = self.stored.rows_by_id[number]["signatures"]
            self.stored.rows_by_id[number] = made

    def drop_checkpoints(self, first: int) -> None:
        for number in range(first, self.length // self.every + 1):
            del self.stored.rows_by_id[number]

    def change_checkpoint(self, number: int, **members: Any) -> None:
        self.stored.rows_by_id[number] = self.stored.rows_by_id[number] | members

    def covering(self, position: int) -> int:
        """The number of the checkpoint that signs an entry first."""
        return -(-position // self.every)

    def end_of(self, position: int) -> int:
        return self.covering(position) * self.every


Operator = Callable[[World, int], Found | None]
OPERATORS: dict[str, Operator] = {}


def operator(act: Operator) -> Operator:
    OPERATORS[act.__name__] = act
    return act


# entries


def _edit(name: str) -> Operator:
    def act(world: World, position: int) -> Found | None:
        kinds = {"seq": GAP, "prevHash": LINK}
        entry = world.log.entries[position]
        if entry[name] == ALTERED[name]:
            return None
        world.log.entries[position] = entry | {name: ALTERED[name]}
        return kinds.get(name, CONTENT), position

    return act


OPERATORS |= {f"edit_{name}": _edit(name) for name in (*FIELDS, "hash", "actions", "actorEmailHmac", "sealed")}


@operator
def edit_with_its_own_hash(world: World, position: int) -> Found:
    world.log.entries[position] = rehashed(world.log.entries[position] | {"source": "billing"})
    return (SIGNATURE, position) if position % world.every == 0 else (LINK, position + 1)


@operator
def add_a_member(world: World, position: int) -> Found:
    world.log.entries[position] = world.log.entries[position] | {"note": "approved"}
    return CONTENT, position


@operator
def remove_a_member(world: World, position: int) -> Found:
    world.log.entries[position] = {k: v for k, v in world.log.entries[position].items() if k != "surface"}
    return CONTENT, position


@operator
def flip_a_bit_in_a_box(world: World, position: int) -> Found | None:
    entry = world.log.entries[position]
    if not entry["sealed"]:
        return None
    first, *others = entry["sealed"]
    flipped = first | {"box": first["box"][:-1] + bytes([first["box"][-1] ^ 1])}
    world.log.entries[position] = entry | {"sealed": [flipped, *others]}
    return CONTENT, position


@operator
def insert_between(world: World, position: int) -> Found:
    world.log.entries[position - 0.5] = world.log.entries[position] | {"_id": position - 0.5}
    return GAP, position


@operator
def insert_before_the_first(world: World, position: int) -> Found:
    world.log.entries[-position] = world.log.entries[position] | {"_id": -position}
    return GAP, 1


@operator
def insert_beyond_the_head(world: World, position: int) -> Found:
    world.log.entries[world.length + position] = world.log.entries[position] | {"_id": world.length + position}
    return TAIL, world.length


@operator
def delete(world: World, position: int) -> Found:
    del world.log.entries[position]
    return (TAIL, world.length) if position == world.length else (GAP, position)


@operator
def duplicate_over_the_next(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    world.log.entries[position + 1] = world.log.entries[position] | {"_id": position + 1}
    return GAP, position + 1


@operator
def duplicate_over_the_next_with_its_number(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    world.log.entries[position + 1] = world.log.entries[position] | {"_id": position + 1, "seq": position + 1}
    return LINK, position + 1


def _swapped(world: World, position: int, **more: Any) -> None:
    first, second = world.log.entries[position], world.log.entries[position + 1]
    for place, entry in ((position, second), (position + 1, first)):
        world.log.entries[place] = entry | {"_id": place} | dict.fromkeys(more, place)


@operator
def swap(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    _swapped(world, position)
    return GAP, position


@operator
def swap_with_numbers(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    _swapped(world, position, seq=True)
    return LINK, position


@operator
def swap_and_rehash_everything(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    _swapped(world, position, seq=True)
    world.rehash(position)
    world.set_head(world.length)
    return SIGNATURE, world.end_of(position)


def _shift_down(world: World, position: int) -> None:
    for number in range(position, world.length):
        world.log.entries[number] = world.log.entries[number + 1] | {"_id": number, "seq": number}
    del world.log.entries[world.length]


@operator
def delete_and_renumber(world: World, position: int) -> Found:
    _shift_down(world, position)
    return (TAIL, world.length) if position == world.length else (LINK, position)


@operator
def delete_and_rehash_everything(world: World, position: int) -> Found:
    _shift_down(world, position)
    world.rehash(position)
    world.set_head(world.length - 1)
    return (SIGNATURE, world.end_of(position)) if world.end_of(position) < world.length else (TAIL, world.length - 1)


@operator
def delete_and_rehash_everything_without_checkpoints(world: World, position: int) -> Found:
    world.drop_checkpoints(world.covering(position))
    return delete_and_rehash_everything(world, position)


@operator
def insert_and_rehash_everything(world: World, position: int) -> Found:
    for number in range(world.length, position - 1, -1):
        world.log.entries[number + 1] = world.log.entries[number] | {"_id": number + 1, "seq": number + 1}
    world.log.entries[position] = world.log.entries[position] | {"id": "forged", "sealed": [], "actorEmail": None}
    world.log.entries[position] |= {"actorIp": None, "actorEmailHmac": None, "metadata": {}, "resourceName": None}
    world.rehash(position)
    world.set_head(world.length + 1)
    return SIGNATURE, world.end_of(position)


# the tail and the head


@operator
def cut_the_tail(world: World, position: int) -> Found:
    world.cut(position)
    return TAIL, world.length


@operator
def cut_the_tail_and_set_the_head_back(world: World, position: int) -> Found:
    world.cut(position)
    world.set_head(position - 1)
    return TAIL, position - 1


@operator
def cut_the_tail_with_head_and_checkpoints(world: World, position: int) -> Found:
    world.drop_checkpoints(world.covering(position))
    return cut_the_tail_and_set_the_head_back(world, position)


@operator
def cut_the_tail_and_remove_the_head(world: World, position: int) -> Found:
    world.cut(position)
    world.log.chain_head = None
    return TAIL, 0


@operator
def set_the_head_back(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    world.set_head(position)
    return TAIL, position


@operator
def set_the_head_forth(world: World, position: int) -> Found:
    world.log.chain_head = Head(world.length + position, world.log.entries[world.length]["hash"])
    return TAIL, world.length + position


@operator
def point_the_head_at_another_hash(world: World, position: int) -> Found | None:
    if position == world.length:
        return None
    world.log.chain_head = Head(world.length, world.log.entries[position]["hash"])
    return TAIL, world.length


# everything after a point


@operator
def edit_and_rehash_without_the_head(world: World, position: int) -> Found:
    head = world.log.chain_head
    world.edit_and_rehash(position)
    world.log.chain_head = head
    return SIGNATURE, world.end_of(position)


@operator
def edit_and_rehash_everything(world: World, position: int) -> Found:
    world.edit_and_rehash(position)
    return SIGNATURE, world.end_of(position)


@operator
def edit_rehash_and_sign_with_another_key(world: World, position: int) -> Found:
    world.edit_and_rehash(position)
    world.sign_again(position, secret=OTHER_SECRET, seeds=(OTHER_SEED,))
    return differing(world, position)


@operator
def edit_rehash_and_keep_the_signatures(world: World, position: int) -> Found:
    world.edit_and_rehash(position)
    world.sign_again(position, secret=OTHER_SECRET, old_signatures=True)
    return differing(world, position)


def differing(world: World, position: int) -> Found:
    """The checkpoint is another one than the witness's: found before its entries are looked at."""
    return SIGNATURE, world.end_of(position)


@operator
def edit_rehash_and_drop_the_checkpoints(world: World, position: int) -> Found:
    world.edit_and_rehash(position)
    world.drop_checkpoints(world.covering(position))
    return SIGNATURE, world.end_of(position)


@operator
def edit_rehash_and_drop_all_checkpoints(world: World, position: int) -> Found:
    world.edit_and_rehash(position)
    world.drop_checkpoints(1)
    return SIGNATURE, world.every


# checkpoints


def _edit_checkpoint(name: str) -> Operator:
    def act(world: World, position: int) -> Found:
        number = world.covering(position)
        world.change_checkpoint(number, **{name: ALTERED_CHECKPOINT[name]})
        return SIGNATURE, world.end_of(position)

    return act


OPERATORS |= {f"edit_checkpoint_{name}": _edit_checkpoint(name) for name in ALTERED_CHECKPOINT}


@operator
def remove_a_checkpoint(world: World, position: int) -> Found:
    del world.stored.rows_by_id[world.covering(position)]
    return SIGNATURE, world.end_of(position)


@operator
def remove_checkpoints_to_the_newest(world: World, position: int) -> Found:
    world.drop_checkpoints(world.covering(position))
    return SIGNATURE, world.end_of(position)


@operator
def replay_a_checkpoint(world: World, position: int) -> Found:
    number = world.covering(position)
    other = number % (world.length // world.every) + 1
    world.stored.rows_by_id[number] = world.stored.rows_by_id[other] | {"_id": number}
    return SIGNATURE, world.end_of(position)


@operator
def replay_a_checkpoint_at_the_end(world: World, position: int) -> Found:
    number = world.length // world.every + 1
    world.stored.rows_by_id[number] = world.stored.rows_by_id[world.covering(position)] | {"_id": number}
    return SIGNATURE, world.end_of(position)


@operator
def sign_a_checkpoint_with_another_key(world: World, position: int) -> Found:
    row = world.stored.rows_by_id[world.covering(position)]
    world.change_checkpoint(world.covering(position), signatures=signatures(row, OTHER_SECRET, OTHER_SEED))
    return SIGNATURE, world.end_of(position)


@operator
def take_a_signature_away(world: World, position: int) -> Found:
    row = world.stored.rows_by_id[world.covering(position)]
    world.change_checkpoint(world.covering(position), signatures=row["signatures"][:1])
    return SIGNATURE, world.end_of(position)


@operator
def add_a_signature_twice(world: World, position: int) -> Found:
    row = world.stored.rows_by_id[world.covering(position)]
    world.change_checkpoint(world.covering(position), signatures=[*row["signatures"], row["signatures"][0]])
    return SIGNATURE, world.end_of(position)


@operator
def swap_checkpoints(world: World, position: int) -> Found:
    number = world.covering(position)
    other = number % (world.length // world.every) + 1
    rows = world.stored.rows_by_id
    first, second = rows[number] | {"_id": other}, rows[other] | {"_id": number}
    rows[number], rows[other] = second, first
    return SIGNATURE, min(number, other) * world.every


@operator
def add_a_checkpoint_between(world: World, position: int) -> Found:
    number = world.covering(position)
    world.stored.rows_by_id[number + 0.5] = world.stored.rows_by_id[number] | {"_id": number + 0.5}
    return SIGNATURE, 0 if number == world.length // world.every else world.end_of(position)


@operator
def add_a_checkpoint_without_a_number(world: World, position: int) -> Found:
    world.stored.rows_by_id[-position] = world.stored.rows_by_id[world.covering(position)] | {"_id": -position}
    return SIGNATURE, 0


# keys


@operator
def alter_a_data_key(world: World, position: int) -> Found | None:
    owners = {item["owner"] for item in world.log.entries[position]["sealed"]}
    if not owners:
        return None
    owner = min(owners)
    world.log.keys = {**world.log.keys, owner: world.log.keys[owner] | {"wrapped": b"\0" * 60}}
    for number in range(1, position + 1):
        if owner in {item["owner"] for item in world.log.entries[number]["sealed"]}:
            return CONTENT, number
    return None


def unwitnessed(world: World, through: int) -> World:
    """The same world in which the witness was away after a number."""
    kept = {key: body for key, body in world.bucket.objects.items() if int(key[12:24]) <= through}
    return replace(world, bucket=MemoryBucket(kept))


__all__ = ["OPERATORS", "Operator", "Row", "Stored", "World"]
