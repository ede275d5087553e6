"""Two verifiers, random logs: personal values of every form, erased owners, checkpoints under keys that take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.audit.chain import link
from services.audit.checkpoints.keys import CheckpointKeys, Ed25519Key, HmacKey, Tenure
from services.audit.models import Fact, Head, Owned
from services.audit.personal import KeyRing, canonical_address, commit_fact, pointer_of
from tests.audit.memory import MemoryCheckpoints, MemoryLog, Row, bucket_of, checkpoint
from tests.audit.operators import OPERATORS, World
from tests.audit.second_canonical import CANONICAL
from tests.audit.second_verifier import Key
from tests.audit.two_verifiers import VAULT, both

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ROTATED = CheckpointKeys(
    [
        Tenure(HmacKey(OLD), 1, 2),
        Tenure(HmacKey(NEW), 3),
        Tenure(Ed25519Key.from_seed(OLD), 1, 3),
        Tenure(Ed25519Key.from_seed(NEW), 3),
    ]
)


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


SECOND_ROTATED = (
    Key("HMAC-SHA-256", OLD, 1, 2),
    Key("HMAC-SHA-256", NEW, 3),
    Key("Ed25519", _public(OLD), 1, 3),
    Key("Ed25519", _public(NEW), 3),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = texts.filter(lambda name: not name.startswith("$"))
scalars = st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
ADDRESSES = ("Ann@Nordic.example", "ZOË@nordic.example")
people = st.sampled_from(["ann", "bob", "zoë"])


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    """An event by a person, a stranger or a machine, about a person, a tenant or nothing."""
    actor, resource = draw(people | st.none()), draw(st.sampled_from(["user", "tenant", None]))
    about = draw(people) if resource else None
    email = draw(st.none() | st.sampled_from(ADDRESSES))
    data = draw(st.dictionaries(names, values, max_size=3))
    by = None if actor is None else f"person:{actor}"
    of = f"person:{about}" if resource == "user" else f"resource:{resource}/{about}"
    owned = [Owned(pointer_of("metadata", "data", name), of) for name in data if draw(st.booleans())]
    fields = dict.fromkeys(CANONICAL) | {"at": "2026-11-22T12:00:00.000Z", "actorType": "user", "actorId": actor}
    fields |= {"id": draw(st.uuids()).hex, "action": "tenant.seats.changed", "outcome": "success", "source": "tenant"}
    fields |= {"resourceType": resource, "resourceId": about, "actorEmail": email, "metadata": {"data": data}}
    fields = {name: fields[name] for name in CANONICAL if name not in {"v", "seq", "prevHash"}}
    if email is not None:
        owned.append(Owned("/actorEmail", by))
    if resource != "user":
        owned += _contacts(
            draw(st.lists(st.sampled_from(ADDRESSES), max_size=3)), fields, email if by is None else None
        )
    return Fact(fields, tuple(owned), None if email is None else canonical_address(email))


def _contacts(addresses: Sequence[str], fields: dict[str, Any], actor: str | None) -> Iterator[Owned]:
    """Addresses typed by hand, and `metadata.addressed` as section 4 has it; `actor`: one whose owner is an address."""
    lists: dict[str, list[str]] = {}
    for number, address in enumerate(addresses):
        fields["metadata"]["data"][f"contact{number}"] = address
        lists.setdefault(canonical_address(address), []).append(f"/metadata/data/contact{number}")
        yield Owned(f"/metadata/data/contact{number}", None, canonical_address(address))
    if actor is not None and canonical_address(actor) in lists:
        lists[canonical_address(actor)].append("/actorEmail")
    if lists:
        fields["metadata"]["addressed"] = list(lists.values())


def signed_by_turns(hashes: Sequence[str], ends: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    for number, end in enumerate(ends, 1):
        seeds = [seed for seed, signs in ((OLD, number <= 3), (NEW, number >= 3)) if signs]
        before = rows[-1] if rows else None
        rows.append(checkpoint(number, hashes[:end], before, *seeds, secret=OLD if number <= 2 else NEW))
    return rows


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(facts(), min_size=5, max_size=14), st.data())
def test_both_agree_on_random_logs_and_on_what_was_done_to_them(told: list[Fact], data: st.DataObject) -> None:
    ring = KeyRing(VAULT, [])
    entries = link(Head(), [commit_fact(fact, ring) for fact in told])
    ends = sorted(data.draw(st.sets(st.integers(1, len(entries)), max_size=6)))
    rows = signed_by_turns([entry["hash"] for entry in entries], ends)
    witnessed = data.draw(st.integers(0, len(rows)))
    log = MemoryLog(entries, ring.created)
    for owner in data.draw(st.sets(st.sampled_from(sorted(log.keys)))) if log.keys else ():
        log.keys[owner] = {"_id": owner, "erasedAt": "2026-11-22T13:00:00.000Z"}
    world = World(log, MemoryCheckpoints(rows), bucket_of(rows[:witnessed]), len(entries), len(entries))
    assert asyncio.run(both(world, ROTATED, SECOND_ROTATED)) is None
    asyncio.run(both(_changed(world, data), ROTATED, SECOND_ROTATED))


HARM = ("edit_and_rehash_everything", "edit_with_its_own_hash", "delete", "edit_sealed", "edit_metadata", "edit_hash")


def _changed(world: World, data: st.DataObject) -> World:
    """One thing done at one place; nothing is expected but that both see it alike."""
    changed, position = world.copy(), data.draw(st.integers(1, world.length))
    OPERATORS[data.draw(st.sampled_from(HARM))](changed, position)
    return changed
