"""A person's address is theirs wherever it stands, and what is said of it after their erasure is sealed for nobody.

Owners are those of docs/audit-format.md, section 4.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from services.audit.chain import Appended, ChainWriter
from services.audit.erasures import command
from services.audit.facts import interpret
from services.audit.ingest.models import Record
from services.audit.ingest.reading import read
from services.audit.models import Query, Stored
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.service import AuditService, Place
from shared.mongo import Database, Mongo
from tests.audit.events import JANE, OTTO, PERSONAL_KEY, encode, registered, tenant_event
from tests.audit.memory import rehashed, verify
from tests.audit.second_boxes import Boxes
from tests.audit.test_erasing import erased, stranger

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
CONTACT = ["/metadata/changes/billing/after/contact"]


@pytest.fixture
def audit(repository: AuditRepository, vault: Vault) -> AuditService:
    return AuditService(repository, vault)


def contact(number: int, before: str | None, after: str | None, **more: Any) -> dict[str, Any]:
    """Otto changes the billing contact of `acme`."""
    event = tenant_event(number, **more)
    event["data"]["actor"] |= {"id": OTTO, "email": "otto@dezky.local"}
    billing = {"company": "Acme", "address": "Musterweg 1"}
    event["data"]["changes"]["billing"] = {
        "before": billing | {"contact": before},
        "after": billing | {"contact": after},
    }
    return event


def login(number: int, email: str, **context: Any) -> Record:
    """Authentik tells of a sign-in."""
    body = {
        "pk": f"{number}",
        "action": "login",
        "user": {"email": email, "username": email, "pk": 7},
        "context": context,
        "client_ip": "203.0.113.7",
        "created": "2026-11-22T12:20:00.000Z",
    }
    return Record(f"authentik:{number}", "authentik", json.dumps(body).encode(), NOW)


async def listed(audit: AuditService) -> str:
    return json.dumps((await audit.page(Query(), None, Place())).items, default=str).lower()


@pytest.fixture
def sound(root_db: Database, repository: AuditRepository, vault: Vault) -> Callable[[], Awaitable[None]]:
    """Says that both verifiers find nothing to say, and that no key is lost."""

    async def look() -> None:
        verdict = await verify(repository, vault)
        assert (verdict.broken, verdict.findings) == (None, ())
        boxes = Boxes(PERSONAL_KEY, await root_db["person_keys"].find().to_list())
        assert [fault async for entry in root_db["entries"].find() for fault in boxes.faults(entry)] == []

    return look


def test_a_contact_that_is_an_address_is_owned_by_it_and_the_entry_says_so() -> None:
    fact = interpret("tenant.updated.v1", encode(contact(1, "Erna Muster", " Jane@Nordic.example "))[0], NOW)
    owned = {each.pointer: (each.owner, each.address) for each in fact.personal}
    assert owned[CONTACT[0]] == (None, "jane@nordic.example")
    assert owned["/metadata/changes/billing/before/contact"] == ("resource:tenant/id-of-acme", None)
    assert fact.fields["metadata"]["addressed"] == [CONTACT]


def test_an_entry_without_such_a_value_is_what_it_always_was() -> None:
    fact = interpret("tenant.updated.v1", encode(tenant_event(1))[0], NOW)
    assert "addressed" not in fact.fields["metadata"]


async def test_a_contact_typed_by_somebody_else_goes_with_the_person_whose_address_it_is(
    chain: Chain, audit: AuditService, sound: Callable[[], Awaitable[None]]
) -> None:
    await chain(
        encode(contact(1, None, "JANE@nordic.example"), contact(2, "JANE@nordic.example", "bert@fjord.example"))
    )
    await chain(encode(tenant_event(3)))
    await sound()
    assert (await listed(audit)).count("jane@nordic.example") == 3
    await chain(encode(erased(4)))
    after = await listed(audit)
    assert "jane@nordic.example" not in after
    assert after.count("bert@fjord.example") == 1
    assert after.count("erna muster") == 1  # a name and no address: nobody can say whose it is
    await sound()


async def test_a_person_who_never_acted_is_known_by_the_address_that_the_platform_gave_them(
    chain: Chain, audit: AuditService, sound: Callable[[], Awaitable[None]]
) -> None:
    typed = contact(1, None, "otto@dezky.local")
    typed["data"]["actor"] = tenant_event(1)["data"]["actor"]
    await chain(encode(typed))
    await chain(encode(registered(2)))
    await chain(encode(erased(3, OTTO)))
    assert "otto@dezky.local" not in await listed(audit)
    await sound()


@pytest.mark.parametrize("beside", [False, True])
async def test_what_comes_late_under_an_erased_address_is_committed_to_and_can_be_had_by_nobody(
    beside: bool,
    chain: Chain,
    writer: ChainWriter,
    audit: AuditService,
    root_db: Database,
    sound: Callable[[], Awaitable[None]],
) -> None:
    await chain(encode(tenant_event(1)))
    late = [
        read(login(1, "Jane@Nordic.example")),
        read(login(2, "root@dezky.local", seen={"email": "jane@nordic.example"})),
    ]
    late += [interpret("gateway.requests_refused.v1", encode(stranger())[0], NOW)]
    late += [interpret("tenant.updated.v1", encode(contact(4, None, "jane@nordic.example"))[0], NOW)]
    gone = interpret("user.erased.v1", encode(erased(3))[0], NOW)
    if beside:
        await writer.append([*late, gone])
    else:
        await writer.append([gone])
        await writer.append(late[:2])
        await writer.append(late[2:])
    after = await listed(audit)
    assert "jane@nordic.example" not in after
    assert after.count("203.0.113.7") == 1  # Otto's own, who typed the contact
    rows = await root_db["person_keys"].find({"_id": {"$regex": "^address:"}}).to_list()
    assert rows
    assert not [row for row in rows if "wrapped" in row or "addresses" in row or "erasedAt" not in row]
    told = [row async for row in root_db["entries"].find({"action": {"$in": ["authentik.login", "tenant.updated"]}})]
    assert all("$commit" in row["actorEmail"] for row in told)  # what was said is still committed to
    assert [row["actorEmailHmac"] for row in told if row["actorType"] == "external"] == [None, None]
    await writer.append([read(login(5, "bert@fjord.example"))])
    assert (await listed(audit)).count("bert@fjord.example") == 3  # whom nobody erased
    await sound()


async def test_the_digest_of_an_erased_address_is_kept_for_as_long_as_the_stream_of_events_and_tells_nothing(
    chain: Chain, root_db: Database, repository: AuditRepository
) -> None:
    await chain(encode(tenant_event(1)))
    (row,) = [row async for row in root_db["person_keys"].find({"_id": f"person:{JANE}"})]
    await chain(encode(erased(2)))
    (kept,) = await root_db["erased_addresses"].find().to_list()
    assert (kept["_id"], set(kept)) == (row["addresses"][0], {"_id", "at"})
    assert kept["at"] > NOW  # when it was written, by the server: the erasure is of the time of its event
    assert b"jane" not in bson.encode(kept)
    index = (await root_db["erased_addresses"].index_information())["at_1"]
    assert index["expireAfterSeconds"] == 30 * 24 * 3600


async def test_a_replay_after_a_restore_knows_the_addresses_of_the_erased_again(
    chain: Chain, writer: ChainWriter, audit: AuditService, root_db: Database, audit_mongo: Mongo
) -> None:
    await chain(encode(tenant_event(1), contact(2, None, "jane@nordic.example")))
    backup = await root_db["person_keys"].find().to_list()
    await chain(encode(erased(3)))
    kept = io.StringIO()
    assert await command(["list"], audit_mongo, io.StringIO(), kept) == 0
    for name in ("erasures", "person_keys", "erased_addresses"):
        await root_db[name].delete_many({})
    await root_db["person_keys"].insert_many(backup)
    assert "jane@nordic.example" in await listed(audit)
    for _ in range(2):
        assert await command(["replay"], audit_mongo, io.StringIO(kept.getvalue()), io.StringIO()) == 0
    await writer.append([read(login(1, "jane@nordic.example"))])
    assert "jane@nordic.example" not in await listed(audit)


ODD_LISTS: tuple[object, ...] = (
    *("a pointer", [[]], [["/metadata/changes/name"]], [CONTACT, CONTACT], [["/actorEmail"]], [[["/metadata"]]]),
)


async def test_a_list_of_addresses_that_is_not_the_entrys_own_is_found_by_both_verifiers(
    chain: Chain, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain(encode(contact(1, None, "jane@nordic.example")))
    boxes = Boxes(PERSONAL_KEY, await root_db["person_keys"].find().to_list())
    for told in ODD_LISTS:
        entry: Stored = await root_db["entries"].find_one({}) or {}
        entry["metadata"]["addressed"] = told
        changed = rehashed(entry)
        await root_db["entries"].replace_one({"_id": 1}, changed)
        await root_db["heads"].update_one({}, {"$set": {"hash": changed["hash"]}})
        broken = (await verify(repository, vault)).broken
        assert broken is not None, told
        assert (broken.kind, broken.field) == ("event-hash-mismatch", "metadata"), told
        assert list(boxes.faults(changed)) == ["metadata"], told


async def test_a_box_of_an_address_that_is_taken_away_or_exchanged_is_found_by_both_verifiers(
    chain: Chain, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain(encode(contact(1, "jane@nordic.example", "bert@fjord.example")))
    entry: Stored = await root_db["entries"].find_one({}) or {}
    boxes = Boxes(PERSONAL_KEY, await root_db["person_keys"].find().to_list())
    theirs = [box for box in entry["sealed"] if box["owner"].startswith("address:")]
    assert len(theirs) == 2
    others = [box for box in entry["sealed"] if box not in theirs]
    crossed = [{"owner": a["owner"], "box": b["box"]} for a, b in zip(theirs, reversed(theirs), strict=True)]
    for sealed in (theirs[:1], [], crossed):
        changed = entry | {"sealed": sorted([*others, *sealed], key=lambda box: str(box["owner"]))}
        await root_db["entries"].replace_one({"_id": 1}, changed)
        broken = (await verify(repository, vault)).broken
        assert broken is not None
        assert (broken.kind, broken.field) == ("event-hash-mismatch", "sealed")
        assert list(boxes.faults(changed)) == ["sealed"]
