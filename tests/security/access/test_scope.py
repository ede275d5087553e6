"""Ways around the table that are none: lists, filters, cursors, keys, headers and paths of other people."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from tests.security.access.samples import Samples
from tests.security.access.test_access_table import documented
from tests.security.access.world import World

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

PORTAL = ("partner owner", "partner staff", "tenant admin", "tenant member")
OTHERS = ("foreign owner", "foreign admin")


def pages(world: World, person: str, path: str, **params: Any) -> list[dict[str, Any]]:
    """Return all items of a list, page by page, two at a time."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = world.call(person, "portal", "GET", path, params={"limit": "2", **params, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def _slugs(items: list[dict[str, Any]]) -> set[str]:
    return {item["slug"] for item in items}


@pytest.fixture
def visible(world: World) -> dict[str, set[str]]:
    """Whose tenants are whose: made by the world, or while the table was tested."""
    of_partner = world.operator("GET", f"/api/tenants?partner={world.own.partner}&limit=500").json()["items"]
    assert {item["partner"] for item in of_partner} == {world.own.partner}
    own, others = {world.own.tenant}, {world.foreign.tenant}
    customers = _slugs(of_partner)
    return {
        "partner owner": customers,
        "partner staff": customers,
        "tenant admin": own,
        "tenant member": own,
        "foreign owner": others,
        "foreign admin": others,
    }


@pytest.mark.parametrize("person", [*PORTAL, *OTHERS])
def test_a_list_holds_what_is_the_callers_and_counts_nothing_else(
    person: str, world: World, visible: dict[str, set[str]]
) -> None:
    assert _slugs(pages(world, person, "/api/tenants")) == visible[person]
    counted = world.call(person, "portal", "GET", "/api/tenants").json()["counts"]
    assert sum(counted.values()) <= len(visible[person])


@pytest.mark.parametrize("person", PORTAL)
@pytest.mark.parametrize("filters", ["partner={partner}", "q={word}", "q={tenant}", "status=active&partner={partner}"])
def test_a_filter_that_names_what_is_foreign_finds_nothing(person: str, filters: str, world: World) -> None:
    place = world.foreign
    query = filters.format(partner=place.partner, word=place.word, tenant=place.tenant)
    answer = world.call(person, "portal", "GET", f"/api/tenants?{query}")
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    assert place.word in world.operator("GET", f"/api/tenants?{query}").text


@pytest.mark.parametrize("repeated", ["partner={own}&partner={foreign}", "partner={foreign}&partner={own}"])
def test_a_filter_given_twice_opens_nothing(repeated: str, world: World) -> None:
    query = repeated.format(own=world.own.partner, foreign=world.foreign.partner)
    assert world.foreign.word not in world.call("partner owner", "portal", "GET", f"/api/tenants?{query}").text


def test_a_tenants_log_shows_no_more_when_it_is_asked_for_another(world: World) -> None:
    for name, value in (("tenantSlug", world.foreign.tenant), ("partnerSlug", world.foreign.partner), ("q", "t-")):
        for path in (f"/api/tenants/{world.own.tenant}/audit", f"/api/partners/{world.own.partner}/audit"):
            answer = world.call("partner owner", "portal", "GET", path, params={name: value})
            assert answer.status_code in {200, 422}
            assert world.foreign.word not in answer.text


@pytest.mark.parametrize("surface", ["operator", "portal"])
def test_a_cursor_of_somebody_elses_list_opens_nothing(
    surface: str, world: World, samples: Samples, document: dict[str, Any]
) -> None:
    """Every list that two roles may read: a cursor of the operator's in the hands of others."""
    tried = 0
    mine = {"/api/tenants/{}": world.own.tenant, "/api/partners/{}": world.own.partner}
    for method, pattern in documented(document):
        prefix = next((known for known in mine if pattern.startswith(f"{known}/")), None)
        if method != "GET" or "{}" in pattern.removeprefix(prefix or ""):
            continue
        path = pattern.replace("{}", mine[prefix]) if prefix else pattern
        theirs = path.replace(world.own.word, world.foreign.word)
        page = world.operator("GET", theirs, params={"limit": "1"})
        cursor = page.json().get("next") if page.is_success else None
        if cursor is None:
            continue
        for person in PORTAL:
            answer = world.call(person, surface, "GET", path, params={"limit": "500", "cursor": cursor})
            assert answer.status_code < 500
            assert world.foreign.word not in answer.text, (person, path)
            tried += 1
    assert tried >= len(PORTAL)


def test_a_key_of_one_caller_never_replays_their_answer_to_another(world: World) -> None:
    key = {"idempotency-key": secrets.token_hex(8)}
    body = {"slug": f"k-{secrets.token_hex(5)}", "name": f"Keyed {world.own.word}", "plan": "business", "seats": 1}
    first = world.call("partner owner", "portal", "POST", "/api/tenants", json=body, headers=key)
    assert first.status_code == 201, first.text
    again = world.call("partner owner", "portal", "POST", "/api/tenants", json=body, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    for person in ("foreign owner", "partner staff", "tenant admin", "tenant member", "foreign admin"):
        answer = world.call(person, "portal", "POST", "/api/tenants", json=body, headers=key)
        assert answer.status_code in {403, 409}, (person, answer.text)
        assert "idempotency-replayed" not in answer.headers
        assert world.own.word not in answer.text
    operator = world.operator("POST", "/api/tenants", json=body, headers=key)
    assert operator.json()["code"] == "partner_token_required"


def test_a_key_that_was_refused_holds_nothing_for_who_may(world: World) -> None:
    key = {"idempotency-key": secrets.token_hex(8)}
    path = f"/api/tenants/{world.own.spare}/resume"
    refused = world.call("partner owner", "portal", "POST", path, headers=key)
    assert refused.json()["code"] == "operator_token_required"
    served = world.operator("POST", path, headers=key)
    assert served.status_code == 200
    assert "idempotency-replayed" not in served.headers


def test_an_answer_with_a_credential_is_replayed_to_nobody_else(world: World) -> None:
    key = {"idempotency-key": secrets.token_hex(8)}
    body = {"email": f"{secrets.token_hex(5)}@new.example", "name": "New", "role": "member"}
    path = f"/api/tenants/{world.own.tenant}/users"
    first = world.call("tenant admin", "portal", "POST", path, json=body, headers=key).json()
    credential = first.get("link") or first["tempPassword"]
    for person in ("tenant admin", "partner owner", "tenant member", "foreign owner"):
        answer = world.call(person, "portal", "POST", path, json=body, headers=key)
        assert credential not in answer.text, person


@pytest.mark.parametrize("person", ["tenant admin", "tenant member", "partner staff", "foreign owner"])
def test_members_that_would_lift_a_caller_are_refused_and_change_nothing(person: str, world: World) -> None:
    tenant, partner = world.own.tenant, world.own.partner
    before = world.photograph()
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/tenants", {"partner": world.foreign.partner}),
        ("PATCH", f"/api/tenants/{tenant}", {"partner": world.foreign.partner}),
        ("PATCH", f"/api/tenants/{tenant}", {"status": "active", "version": 99}),
        ("PATCH", f"/api/tenants/{tenant}", {"slug": world.foreign.tenant}),
        ("POST", f"/api/tenants/{tenant}/users", {"tenant": world.foreign.tenant, "platformAdmin": True}),
        ("POST", f"/api/tenants/{tenant}/users", {"role": "owner"}),
        ("POST", f"/api/partners/{partner}/users", {"role": "operator"}),
    ]
    for method, path, body in attempts:
        new: dict[str, Any] = {}
        if path.endswith("users"):
            new = {"email": f"{secrets.token_hex(5)}@new.example", "name": "New"}
        elif path == "/api/tenants":
            new = {"slug": f"n-{secrets.token_hex(5)}", "name": "New", "plan": "business", "seats": 1}
        answer = world.call(person, "portal", method, path, json={**new, **body})
        assert answer.status_code in {403, 404, 422}, (path, body, answer.text)
    assert world.photograph() == before


def test_whose_tenant_it_is_comes_from_the_caller_alone(world: World) -> None:
    body = {"slug": f"k-{secrets.token_hex(5)}", "name": "New", "plan": "business", "seats": 1}
    path = f"/api/tenants?partner={world.foreign.partner}"
    made = world.call("partner staff", "portal", "POST", path, json=body, headers={"x-partner": world.foreign.partner})
    assert made.json()["partner"] == world.own.partner


def _spellings(tenant: str) -> list[str]:
    return [
        f"/api/tenants/{tenant.upper()}",
        f"/api/tenants/{tenant}/",
        f"/api/tenants//{tenant}",
        f"/api/tenants/./{tenant}",
        f"/api/tenants/own/../{tenant}",
        f"/api/tenants/own%2f..%2f{tenant}",
        f"/api/tenants/{tenant}%00",
        f"/api/tenants/{tenant}%20",
        f"/api/tenants/{tenant};own",
        f"/api/tenants/%74{tenant[1:]}",
        f"/api/tenants/{tenant}.json",
        f"/API/tenants/{tenant}",
        f"/api/tenants/{tenant}?slug=own",
    ]


@pytest.mark.parametrize("person", PORTAL)
def test_no_spelling_of_a_foreign_path_is_answered(person: str, world: World) -> None:
    token = world.token(person, "portal")
    for path in _spellings(world.foreign.tenant):
        answer = _raw(world, "GET", path, {"authorization": f"Bearer {token}"})
        assert answer.status_code in {400, 404}, (path, answer.text)
        assert "Tenant" not in answer.text, path


def _raw(world: World, method: str, target: str, headers: dict[str, str]) -> httpx.Response:
    """Send a target byte for byte: httpx would tidy it up."""
    request = world.client.build_request(method, "/", headers=headers)
    path, _, query = target.partition("?")
    raw = path.encode() + (b"?" + query.encode() if query else b"")
    request.extensions["target"] = raw
    return world.client.send(request)


CLAIMS = {
    "x-http-method-override": "DELETE",
    "x-original-url": "/api/audit",
    "x-rewrite-url": "/api/audit",
    "x-forwarded-user": "operator@dezky.local",
    "x-dezky-principal": "operator",
    "x-dezky-surface": "operator",
    "x-user": "operator@dezky.local",
    "x-forwarded-prefix": "/internal",
    "cookie": "session=operator",
}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_no_header_makes_somebody_of_a_caller(name: str, world: World) -> None:
    claim = {name: CLAIMS[name]}
    for person in ("tenant member", "partner owner"):
        me = world.call(person, "portal", "GET", "/api/me", headers=claim).json()
        assert (me["email"], me["platformAdmin"]) == (world.emails[person], False)
        refused = world.call(person, "portal", "GET", "/api/users", headers=claim)
        assert refused.json()["code"] == "operator_token_required"
        hidden = world.call(person, "portal", "GET", f"/api/tenants/{world.foreign.tenant}", headers=claim)
        assert hidden.status_code == 404


def test_two_tokens_are_not_chosen_from(world: World) -> None:
    fields = [
        ("authorization", f"Bearer {world.token(person, surface)}")
        for person, surface in (("tenant member", "portal"), ("operator", "operator"))
    ]
    for both in (fields, fields[::-1]):
        answer = world.client.get("/api/users", headers=both)
        assert answer.status_code == 400
