"""Messages that become facts, and messages that nobody can read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from services.audit.facts import interpret
from services.audit.models import Fact, Owned, TenantPlace
from shared.testing import ManualClock
from tests.audit.events import JANE, encode, refused, tenant_event

NOW = ManualClock().now()


def read(event: dict[str, Any], subject: str | None = None) -> Fact:
    return interpret(subject or event["type"], encode(event)[0], NOW)


def test_an_event_becomes_the_fields_of_an_entry() -> None:
    fact = read(tenant_event(1))
    fields = dict(fact.fields)
    metadata = fields.pop("metadata")
    assert fields == {
        "id": tenant_event(1)["id"],
        "at": "2026-11-22T12:00:01.001Z",
        "actorType": "user",
        "actorId": JANE,
        "actorEmail": "Jane@Nordic.example",
        "actorIp": "203.0.113.7",
        "surface": "portal",
        "action": "tenant.updated",
        "outcome": "success",
        "resourceType": "tenant",
        "resourceId": "id-of-acme",
        "resourceName": "Acme",
        "tenantSlug": "acme",
        "partnerSlug": "nordic",
        "source": "tenant",
    }
    assert metadata["changes"]["name"] == {"before": "Name 0", "after": "Name 1"}
    assert "plan" not in metadata["changes"]
    assert (metadata["type"], metadata["subject"], metadata["sourceSeq"], metadata["version"]) == (
        "tenant.updated.v1",
        "tenants/acme",
        1,
        1,
    )
    assert (fact.source_seq, fact.tenant) == (1, TenantPlace("acme", "nordic", 1))


@pytest.mark.parametrize("sent", ["jane@nordic.example", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", None])
def test_an_entry_has_the_id_of_a_trace_and_nothing_else_that_comes_as_one(sent: str | None) -> None:
    """The example of W3C Trace Context §3.2.3; what is no trace could be a person's address, and is not sealed."""
    traced = tenant_event(1, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert read(traced).fields["metadata"]["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "traceId" not in read(tenant_event(1, traceparent=sent)).fields["metadata"]


def test_personal_values_are_found_with_their_owners_and_nulls_are_left() -> None:
    assert set(read(tenant_event(1)).personal) == {
        Owned("/actorEmail", f"person:{JANE}"),
        Owned("/actorIp", f"person:{JANE}"),
        Owned("/metadata/changes/billing/after/contact", "resource:tenant/id-of-acme"),
        Owned("/metadata/changes/billing/after/address", "resource:tenant/id-of-acme"),
    }


def test_times_are_brought_to_utc_and_cut_to_milliseconds() -> None:
    fact = read(tenant_event(1, time="2026-11-22T13:00:00.123999+01:00"))
    assert fact.fields["at"] == "2026-11-22T12:00:00.123Z"


def test_members_that_no_contract_knows_are_kept_as_personal() -> None:
    event = tenant_event(1)
    event["data"]["nickname"] = "Janie"
    event["data"]["changes"]["name"]["reason~/"] = "married"
    fact = read(event)
    assert fact.fields["metadata"]["data"] == {"nickname": "Janie"}
    owner = "resource:tenant/id-of-acme"
    assert Owned("/metadata/data/nickname", owner) in fact.personal
    assert Owned("/metadata/changes/name/reason~0~1", owner) in fact.personal


def test_an_external_actor_is_owned_by_address() -> None:
    fact = read(refused(1))
    assert fact.personal == (Owned("/actorIp", None),)
    assert fact.address == "192.0.2.66"


def _set(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda event: event | changes


def _data(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda event: event | {"data": event["data"] | changes}


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("not_a_cloudevent", _set(specversion="0.3")),
        ("not_a_cloudevent", _set(id="sha256:taken")),
        ("not_a_cloudevent", _set(id="")),
        ("not_a_cloudevent", _set(time="2026-11-22T12:00:00")),
        ("not_a_cloudevent", _set(time="0001-01-01T00:00:00+23:00")),
        ("not_a_cloudevent", _set(data=[])),
        ("subject_mismatch", _set(type="tenant.created.v1")),
        ("source_mismatch", _set(source="billing")),
        ("contract_violation", _data(actor=None)),
        ("contract_violation", _data(outcome="maybe")),
        ("contract_violation", _data(action="tenant.deleted")),
        ("not_canonical", _data(score=1.5)),
        ("not_canonical", _data(count=2**53)),
        ("not_canonical", _data(note={"deep": json.loads("[" * 70 + "]" * 70)})),
        ("reserved_name", _data(note={"$commit": "00"})),
        ("reserved_name", _data(note=[{"a\0b": 1}])),
    ],
)
def test_what_cannot_be_believed_is_chained_as_raw_bytes(reason: str, change: Callable[[dict[str, Any]], Any]) -> None:
    payload = encode(change(tenant_event(1)))[0]
    fact = interpret("tenant.updated.v1", payload, NOW)
    assert fact.fields["action"] == "audit.unparsed"
    metadata = fact.fields["metadata"]
    assert (metadata["reason"], metadata["type"]) == (reason, "tenant.updated.v1")
    assert base64.b64decode(metadata["raw"]) == payload
    assert [owned.pointer for owned in fact.personal] == ["/metadata/raw"]
    assert fact.fields["at"] == "2026-11-22T12:00:00.000Z"


def test_an_unknown_type_keeps_the_id_and_number_of_its_event() -> None:
    fact = read(tenant_event(4, "tenant.teleported.v1"))
    assert fact.fields["metadata"]["reason"] == "unknown_type"
    assert (fact.id, fact.source_seq, fact.source) == (tenant_event(4)["id"], 4, "tenant")


def test_an_event_under_a_foreign_subject_cannot_take_its_ids_place() -> None:
    """A process may publish under its own subjects only; an envelope that names another source proves nothing."""
    fact = read(tenant_event(4), subject="gateway.requests_refused.v1")
    payload = encode(tenant_event(4))[0]
    digest = hashlib.sha256(b"gateway.requests_refused.v1\0" + payload).hexdigest()
    assert (fact.id, fact.source, fact.source_seq) == (f"sha256:{digest}", "gateway", None)


@pytest.mark.parametrize("payload", [b"", b"not JSON", b"\xff\xfe", b"null", b"[" * 100_000, b'{"id":"\\ud800"}'])
def test_bytes_that_are_no_json_are_chained_as_they_are(payload: bytes) -> None:
    fact = interpret("tenant.updated.v1", payload, NOW)
    assert fact.fields["metadata"]["reason"] == "not_a_cloudevent"
    assert fact.source == "tenant"


def test_a_lone_surrogate_inside_an_event_is_not_canonical_or_no_json() -> None:
    payload = encode(tenant_event(1))[0].replace(b"unknown", b"x").replace(b"Musterweg 1", b"\\ud800")
    fact = interpret("tenant.updated.v1", payload, NOW)
    assert fact.fields["action"] == "audit.unparsed"


def test_everything_that_an_unknown_caller_did_belongs_to_their_address() -> None:
    event = refused(1)
    event["data"]["note"] = "a member that no contract knows"
    assert set(read(event).personal) == {Owned("/actorIp", None), Owned("/metadata/data/note", None)}


def test_what_an_unknown_caller_did_to_a_person_belongs_to_the_person() -> None:
    event = refused(1)
    event["data"] |= {"note": "unknown", "resource": {"type": "user", "id": JANE}}
    assert Owned("/metadata/data/note", f"person:{JANE}") in read(event).personal
