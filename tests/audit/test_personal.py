"""Personal values: unreadable in the database, found by address, gone with their key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import bson
import pytest

from services.audit.chain import Appended
from services.audit.models import Query, Stored
from services.audit.personal import BoxUnreadableError, Vault, canonical_address, open_box, seal
from services.audit.repository import AuditRepository
from services.audit.service import AuditService, Place
from shared.mongo import Database
from tests.audit.events import JANE, OTTO, encode, refused, registered, suspended, tenant_event
from tests.audit.memory import verify

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
REFUSED_ID = "0198c0de-0000-7000-8000-0000000000ff"


@pytest.fixture
def audit(repository: AuditRepository, vault: Vault) -> AuditService:
    return AuditService(repository, vault)


async def listed(audit: AuditService, email: str | None = None) -> list[Stored]:
    return list((await audit.page(Query(), email, Place())).items)


async def erase(root_db: Database, owner: str) -> None:
    """What docs/audit-format.md says erasing is."""
    done = await root_db["person_keys"].update_one(
        {"_id": owner}, {"$unset": {"wrapped": "", "addresses": ""}, "$currentDate": {"erasedAt": True}}
    )
    assert done.modified_count == 1


async def test_no_personal_value_lies_readable_in_any_collection(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), suspended(2), refused(1, id=REFUSED_ID)))
    await chain([b'{"email": "lost@nordic.example"}'])
    names = await root_db.list_collection_names()
    assert {"entries", "person_keys", "heads", "sources", "tenants"} <= set(names)
    everything = b"".join([bson.encode(row) for name in names async for row in root_db[name].find()])
    secrets = ["jane@nordic", "203.0.113.7", "Erna Muster", "Musterweg", "operator@dezky", "192.0.2.66", "lost@nordic"]
    for secret in secrets:
        assert secret.encode().lower() not in everything.lower()
    assert b"Name 1" in everything  # what is not personal is there


async def test_readers_see_the_values(chain: Chain, audit: AuditService) -> None:
    await chain(encode(tenant_event(1), refused(1, id=REFUSED_ID)))
    second, first = await listed(audit)
    assert (first["actorEmail"], first["actorIp"], first["erased"]) == ("Jane@Nordic.example", "203.0.113.7", False)
    assert first["metadata"]["changes"]["billing"]["after"] == {
        "contact": "Erna Muster",
        "company": "Acme",
        "address": "Musterweg 1",
    }
    assert (second["actorEmail"], second["actorIp"]) == (None, "192.0.2.66")
    assert set(first).isdisjoint({"_id", "sealed", "actions", "actorEmailHmac"})


async def test_erasing_a_person_hides_their_values_and_nobody_elses_and_the_chain_holds(
    chain: Chain, audit: AuditService, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain(encode(tenant_event(1), suspended(2)))
    await erase(root_db, f"person:{JANE}")
    ottos, janes = await listed(audit)
    assert (janes["actorEmail"], janes["actorIp"], janes["actorId"], janes["erased"]) == (None, None, JANE, True)
    assert janes["metadata"]["changes"]["billing"]["after"]["contact"] == "Erna Muster"
    assert (ottos["actorEmail"], ottos["erased"]) == ("operator@dezky.local", False)
    assert await listed(audit, "jane@nordic.example") == []
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.findings) == (None, ())


async def test_what_arrives_after_an_erasure_is_never_readable(
    chain: Chain, audit: AuditService, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    await chain(encode(tenant_event(1)))
    await erase(root_db, f"person:{JANE}")
    await chain(encode(tenant_event(2)))
    newest = (await listed(audit))[0]
    assert (newest["seq"], newest["actorEmail"], newest["erased"]) == (2, None, True)
    row = await root_db["person_keys"].find_one({"_id": f"person:{JANE}"})
    assert row is not None
    assert "wrapped" not in row
    assert "addresses" not in row
    assert (await verify(repository, vault)).broken is None


async def test_the_same_value_has_another_commitment_each_time(chain: Chain, root_db: Database) -> None:
    await chain(encode(tenant_event(1), tenant_event(2)))
    first, second = await root_db["entries"].find().sort("_id", 1).to_list()
    assert first["actorEmail"] != second["actorEmail"]
    assert set(first["actorEmail"]) == {"$commit"}


async def test_the_actor_filter_finds_every_spelling_and_every_person_of_an_address(
    chain: Chain, audit: AuditService
) -> None:
    await chain(encode(tenant_event(1), suspended(2)))
    stranger = refused(1, id=REFUSED_ID)
    stranger["data"]["actor"]["email"] = "JANE@nordic.example"
    await chain(encode(stranger))
    moved = tenant_event(3)
    moved["data"]["actor"]["email"] = "jane@fjord.example"
    await chain(encode(moved))
    assert [entry["seq"] for entry in await listed(audit, "jane@NORDIC.example")] == [3, 1]
    assert [entry["seq"] for entry in await listed(audit, "jane@fjord.example")] == [4]
    assert await listed(audit, "nobody@nordic.example") == []


async def test_an_address_without_a_person_has_one_owner_until_it_is_erased(chain: Chain, root_db: Database) -> None:
    events = [refused(n, id=f"refused-{n}") for n in (1, 2, 3)]
    await chain(encode(events[0]))
    await chain(encode(events[1]))
    entries = await root_db["entries"].find().sort("_id", 1).to_list()
    (owner,) = {item["owner"] for entry in entries for item in entry["sealed"]}
    assert owner.startswith("address:")
    await erase(root_db, owner)
    await chain(encode(events[2]))
    newest = await root_db["entries"].find_one({"_id": 3})
    assert newest is not None
    assert newest["sealed"][0]["owner"] != owner


async def test_the_fields_of_a_person_belong_to_that_person(
    chain: Chain, audit: AuditService, root_db: Database
) -> None:
    await chain(encode(registered(1)))
    (entry,) = await listed(audit)
    assert entry["resourceName"] == "Otto Operator"
    assert entry["metadata"]["changes"]["email"] == {"before": None, "after": "otto@dezky.local"}
    await erase(root_db, f"person:{OTTO}")
    (entry,) = await listed(audit)
    assert (entry["resourceName"], entry["actorEmail"]) == (None, "Jane@Nordic.example")
    assert entry["metadata"]["changes"]["email"] == {"before": None, "after": None}


def test_a_box_opens_for_its_own_entry_owner_and_key_only() -> None:
    box = seal(b"k" * 32, "person:1", "entry-1", {"/actorIp": (b"s" * 32, "203.0.113.7")})
    assert open_box(b"k" * 32, "person:1", "entry-1", box) == {"/actorIp": (b"s" * 32, "203.0.113.7")}
    flipped = bytes([*box[:-1], box[-1] ^ 1])
    attempts = [
        (b"K" * 32, "person:1", "entry-1", box),
        (b"k" * 32, "person:2", "entry-1", box),
        (b"k" * 32, "person:1", "entry-2", box),
        (b"k" * 32, "person:1", "entry-1", flipped),
        (b"k" * 32, "person:1", "entry-1", b"\x02" + box[1:]),
        (b"k" * 32, "person:1", "entry-1", b""),
    ]
    for attempt in attempts:
        with pytest.raises(BoxUnreadableError):
            open_box(*attempt)


def test_a_wrapped_key_opens_for_its_own_owner_and_vault_only() -> None:
    vault = Vault(b"v" * 32)
    wrapped = vault.wrap("person:1", b"k" * 32)
    assert vault.unwrap("person:1", wrapped) == b"k" * 32
    for other, owner in ((vault, "person:2"), (Vault(b"w" * 32), "person:1")):
        with pytest.raises(BoxUnreadableError):
            other.unwrap(owner, wrapped)


@pytest.mark.parametrize("spelling", ["Zoë@X.example", "ZOË@x.example", " zoe\u0308@x.example ", "zoë@x.example"])
def test_spellings_of_an_address_are_one(spelling: str) -> None:
    assert canonical_address(spelling) == "zo\u00eb@x.example"
