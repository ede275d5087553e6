"""From a record to a fact: kinds, outcomes, who it was, and what cannot be understood."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.audit.ingest.models import Record, Source
from services.audit.ingest.reading import read
from services.audit.models import Fact, Owned
from services.audit.schemas import LogFilters

pytestmark = pytest.mark.unit
RECEIVED = datetime(2026, 11, 22, 12, tzinfo=UTC)
# As Authentik 2026.8 answers, with a GeoIP database installed.
LOGIN: dict[str, Any] = {
    "pk": "4f0a3b6e-6d1f-4d0c-9a53-0a8a4f1f6a01",
    "user": {"pk": 7, "email": "Jane@Acme.example", "username": "jane"},
    "action": "login",
    "app": "authentik.events.signals",
    "context": {"geo": {"lat": 55.6759, "long": 12.5655, "country": "DK"}, "auth_method": "password"},
    "client_ip": "203.0.113.7",
    "created": "2026-11-22T11:59:58.123456Z",
    "expires": "2027-11-22T11:59:58.123456Z",
    "brand": {"name": "authentik-default"},
}
FAILED = {
    **LOGIN,
    "user": {"pk": 0, "email": "", "username": "AnonymousUser", "is_anonymous": True},
    "action": "login_failed",
    "context": {"username": "jane@acme.example", "stage": {"name": "password"}},
}


def fact(source: Source, body: Any) -> Fact:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(Record(f"{source}:1", source, raw, RECEIVED))


def stalwart(kind: str, **detail: Any) -> Fact:
    return fact("stalwart", {"id": "1", "createdAt": "2026-11-22T11:00:00Z", "type": kind, "data": detail})


def test_a_sign_in_at_authentik_is_an_entry_of_an_external_actor() -> None:
    read_ = fact("authentik", LOGIN)
    fields = {name: value for name, value in read_.fields.items() if value is not None and name != "metadata"}
    assert fields == {
        "id": "authentik:1",
        "at": "2026-11-22T11:59:58.123Z",
        "actorType": "external",
        "actorEmail": "Jane@Acme.example",
        "actorIp": "203.0.113.7",
        "action": "authentik.login",
        "outcome": "success",
        "source": "authentik",
    }
    assert read_.address == "jane@acme.example"
    assert read_.fields["metadata"]["type"] == "login"
    assert read_.fields["metadata"]["received"] == "2026-11-22T12:00:00.000Z"


def test_all_that_a_source_says_is_personal_and_belongs_to_the_address() -> None:
    assert fact("authentik", LOGIN).personal == (
        Owned("/actorEmail", None),
        Owned("/actorIp", None),
        Owned("/metadata/data", None),
    )


def test_a_failed_sign_in_names_who_was_tried() -> None:
    read_ = fact("authentik", FAILED)
    assert (read_.fields["action"], read_.fields["outcome"]) == ("authentik.login_failed", "failure")
    assert read_.fields["actorEmail"] == "jane@acme.example"


def test_what_the_platform_did_to_somebody_belongs_to_them_and_what_they_did_too() -> None:
    made = {
        **LOGIN,
        "user": {"pk": 1, "email": "", "username": "akadmin"},
        "action": "model_created",
        "context": {"model": {"model_name": "user", "pk": 9, "name": "Otto@Acme.example"}},
    }
    assert fact("authentik", made).fields["actorEmail"] == "akadmin"
    assert fact("authentik", made).handle == "otto@acme.example"
    assert fact("authentik", {**made, "user": LOGIN["user"]}).handle == "jane@acme.example"
    assert fact("authentik", {**made, "context": {}}).handle == "akadmin"
    ended = fact("authentik", {**made, "action": "model_deleted"})
    model = ended.fields["metadata"]["data"]["context"]["model"]
    assert (model, ended.handle) == ({"model_name": "user", "pk": 9, "name": None}, "akadmin")
    assert stalwart("message-ingest.ham", to=["a note", "jane@acme.example"]).handle == "jane@acme.example"


def test_numbers_that_the_format_has_no_place_for_are_kept_as_their_text() -> None:
    body = json.dumps({**LOGIN, "context": {"big": 2**53, "fits": 2**53 - 1, "huge": 0}}).replace(
        "0}", "1" * 5_000 + "}"
    )
    context = fact("authentik", body.encode()).fields["metadata"]["data"]["context"]
    assert context == {"big": "9007199254740992", "fits": 2**53 - 1, "huge": "1" * 5_000}
    geo = fact("authentik", LOGIN).fields["metadata"]["data"]["context"]["geo"]
    assert geo == {"lat": "55.6759", "long": "12.5655", "country": "DK"}


@pytest.mark.parametrize(
    ("kind", "action", "outcome"),
    [
        ("auth.success", "stalwart.auth_success", "success"),
        ("auth.failed", "stalwart.auth_failed", "failure"),
        ("auth.too-many-attempts", "stalwart.auth_too_many_attempts", "failure"),
        ("security.scan-ban", "stalwart.security_scan_ban", "denied"),
        ("security.unauthorized", "stalwart.security_unauthorized", "denied"),
        ("limit.quota", "stalwart.limit_quota", "denied"),
        ("smtp.mailbox-does-not-exist", "stalwart.smtp_mailbox_does_not_exist", "failure"),
        ("delivery.dsn-perm-fail", "stalwart.delivery_dsn_perm_fail", "failure"),
    ],
)
def test_a_kind_of_stalwart_becomes_an_action_and_an_outcome(kind: str, action: str, outcome: str) -> None:
    assert (stalwart(kind).fields["action"], stalwart(kind).fields["outcome"]) == (action, outcome)


@pytest.mark.parametrize(
    ("action", "outcome"),
    [("suspicious_request", "denied"), ("configuration_error", "failure"), ("system_exception", "failure")],
)
def test_what_goes_wrong_at_authentik_is_told_from_what_goes_well(action: str, outcome: str) -> None:
    assert fact("authentik", {**LOGIN, "action": action}).fields["outcome"] == outcome


def test_a_line_of_ocis_without_a_time_happened_when_it_was_read() -> None:
    line = {"User": "", "RemoteAddr": "", "Time": "", "Action": "space_created", "SpaceID": "s1"}
    read_ = fact("ocis", line)
    assert read_.fields["at"] == "2026-11-22T12:00:00.000Z"
    assert (read_.fields["actorEmail"], read_.fields["actorIp"], read_.address) == (None, None, "ocis")
    assert fact("ocis", {**line, "Time": "2026-11-22T10:00:00+01:00"}).fields["at"] == "2026-11-22T09:00:00.000Z"


def test_a_line_of_ocis_belongs_to_whom_it_names() -> None:
    assert fact("ocis", {"User": "", "UserID": "u-1", "Action": "user_created"}).address == "u-1"
    assert fact("ocis", {"User": "jane", "UserID": "u-1", "Action": "user_deleted"}).address == "jane"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not JSON", "not_json"),
        (b"[1]", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": 1, "a": 2}', "not_json"),
        (b"\xff\xfe{", "not_json"),
        (b"[" * 200_000, "not_json"),
        ({"createdAt": "2026-11-22T11:00:00Z", "data": {}}, "not_an_event"),
        ({"type": "auth.failed", "createdAt": "yesterday", "data": {}}, "not_an_event"),
        ({"type": "auth.failed", "createdAt": "0001-01-01T00:00:00+23:59", "data": {}}, "not_an_event"),
        ({"type": "auth failed", "createdAt": "2026-11-22T11:00:00Z", "data": {}}, "not_an_event"),
        ({"type": "a.b", "createdAt": "2026-11-22T11:00:00Z", "data": {"$commit": "0" * 64}}, "reserved_name"),
        ({"type": "a.b", "createdAt": "2026-11-22T11:00:00Z", "data": {"a\0b": 1}}, "reserved_name"),
        (b'{"type": "a.b", "createdAt": "2026-11-22T11:00:00Z", "data": {"x": "\\ud800"}}', "not_canonical"),
        (
            b'{"type": "a.b", "createdAt": "2026-11-22T11:00:00Z", "data": ' + b"[" * 99 + b"]" * 99 + b"}",
            "not_canonical",
        ),
    ],
)
def test_what_cannot_be_understood_is_chained_with_its_bytes_sealed(body: Any, reason: str) -> None:
    read_ = fact("stalwart", body)
    assert (read_.fields["action"], read_.fields["source"]) == ("audit.unparsed", "stalwart")
    assert read_.fields["metadata"]["reason"] == reason
    assert read_.personal == (Owned("/metadata/raw", "raw:stalwart:1"),)


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=120))
def test_every_action_can_be_filtered_by(kind: str) -> None:
    read_ = stalwart(kind)
    if read_.fields["action"] != "audit.unparsed":
        assert LogFilters(action=read_.fields["action"]).action == read_.fields["action"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
members = st.sampled_from(["action", "type", "created", "createdAt", "data", "user", "context", "client_ip", "User"])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["authentik", "stalwart", "ocis"]), st.dictionaries(members, json_values))
def test_whatever_a_source_says_becomes_a_fact(source: Source, body: dict[str, Any]) -> None:
    assert fact(source, body).fields["source"] == source
