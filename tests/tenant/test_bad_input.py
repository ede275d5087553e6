"""What a tenant cannot be: each a clear 4xx that names the field, and no change anywhere in the database."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from shared.auth import Person
from shared.testing import operator, partner_person, tenant_person
from tests.tenant.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW: dict[str, Any] = {"slug": "initech", "name": "Initech", "plan": "business", "seats": 5}
STAFF = partner_person("nordic")
# Written by workers and by refusals, which are told to the audit log; they are no change of anything.
ASIDE = {"leases", "counters", "outbox"}
DOMAINS = "domains.0.name"

CREATE: list[tuple[dict[str, Any], int, str, str]] = [
    ({"slug": "admin"}, 422, "slug", "reserved_slug"),
    ({"slug": "adm1n"}, 422, "slug", "reserved_slug"),
    ({"slug": "rnetrics"}, 422, "slug", "reserved_slug"),
    ({"slug": "a" * 41}, 422, "slug", "bad_slug"),
    ({"slug": "a" * 65}, 422, "slug", "string_too_long"),
    ({"slug": "\u0430cme"}, 422, "slug", "bad_slug"),
    ({"slug": "xn--acme"}, 422, "slug", "bad_slug"),
    ({"slug": "acme"}, 409, "", "slug_taken"),
    ({"slug": "acrne"}, 409, "slug", "slug_too_similar"),
    ({"seats": -1}, 422, "seats", "greater_than_equal"),
    ({"seats": 0}, 422, "seats", "greater_than_equal"),
    ({"seats": 10**9}, 422, "seats", "less_than_equal"),
    ({"seats": 2**63}, 422, "seats", "less_than_equal"),
    ({"partner": "fjord"}, 422, "partner", "not_settable"),
    ({"status": "active"}, 422, "status", "not_settable"),
    ({"owner": "fjord"}, 422, "owner", "extra_forbidden"),
    ({"currency": "NOK"}, 422, "plan", "no_price_for_plan"),
    ({"domains": [{"name": "initech.example."}]}, 422, DOMAINS, "bad_domain"),
    ({"domains": [{"name": "initech.example\u3002"}]}, 422, DOMAINS, "bad_domain"),
    ({"domains": [{"name": "xn--initech-.example"}]}, 422, DOMAINS, "bad_domain"),
    ({"domains": [{"name": "co.uk"}]}, 422, DOMAINS, "public_suffix"),
    ({"domains": [{"name": "github.io"}]}, 422, DOMAINS, "public_suffix"),
    ({"domains": [{"name": "acme.example"}]}, 409, "domains", "domain_taken"),
    ({"domains": [{"name": "ACME.example"}]}, 409, "domains", "domain_taken"),
    ({"domains": [{"name": f"d{n}.example"} for n in range(51)]}, 422, "domains", "too_long"),
    ({"domains": [{"name": f"d{n}.example", "primary": True} for n in range(2)]}, 422, "domains", "two_primaries"),
    (
        {"domains": [{"name": "b\u00fccher.example"}, {"name": "xn--bcher-kva.example"}]},
        422,
        "domains",
        "duplicate_domain",
    ),
    ({"billing": {"contact": "bills\n@initech.example"}}, 422, "billing.contact", "value_error"),
    ({"billing": {"contact": "bills@initech.example\nbcc: all"}}, 422, "billing.contact", "value_error"),
]
OPERATOR = operator()
ACT: list[tuple[Person, str, str, Any, int, str, str]] = [
    (STAFF, "PATCH", "/api/tenants/acme", {"currency": "NOK"}, 422, "currency", "not_settable"),
    (STAFF, "PATCH", "/api/tenants/acme", {"partner": "nordic"}, 422, "partner", "not_settable"),
    (STAFF, "PATCH", "/api/tenants/acme", {"slug": "other"}, 422, "slug", "not_settable"),
    (STAFF, "PATCH", "/api/tenants/acme", {"seats": 0}, 422, "seats", "greater_than_equal"),
    (STAFF, "PATCH", "/api/tenants/acme", {"seats": 10**9}, 422, "seats", "less_than_equal"),
    (STAFF, "PATCH", "/api/tenants/acme", {"domains": [{"name": "com"}]}, 422, DOMAINS, "bad_domain"),
    (STAFF, "PATCH", "/api/tenants/acme", {"plan": "unheard-of"}, 422, "plan", "no_price_for_plan"),
    (STAFF, "POST", "/api/tenants/acme/users", {"email": "a@b.example\n", "name": "A"}, 422, "email", "value_error"),
    (STAFF, "POST", "/api/partners/nordic/transfers", {"tenant": "Ac me"}, 422, "tenant", "string_pattern_mismatch"),
    (STAFF, "POST", "/api/partners/nordic/transfers", {"tenant": "acme"}, 409, "", "own_tenant"),
    (OPERATOR, "DELETE", "/api/tenants/acme", {"reason": " "}, 422, "reason", "value_error"),
    (OPERATOR, "DELETE", "/api/tenants/acme/partner", {"until": "tomorrow"}, 422, "until", "value_error"),
    (OPERATOR, "DELETE", "/api/tenants/acme/partner", {"until": "2020-01-01T00:00:00Z"}, 422, "until", "bad_until"),
    (OPERATOR, "DELETE", "/api/tenants/acme/partner", {"until": "9999-01-01T00:00:00Z"}, 422, "until", "bad_until"),
    (OPERATOR, "PUT", "/api/tenants/acme/partner", {"partner": "fjord"}, 409, "", "belongs_to_partner"),
    (OPERATOR, "PUT", "/api/tenants/waits/partner", {"partner": "unheard-of"}, 409, "", "partner_not_active"),
    (OPERATOR, "PUT", "/api/tenants/waits/partner", {"partner": "fjord\n"}, 422, "partner", "string_pattern_mismatch"),
    (OPERATOR, "POST", "/api/partners/unheard-of/transfers", {"tenant": "acme"}, 404, "", "not_found"),
    (tenant_person("acme"), "PATCH", "/api/tenants/acme", {"name": "Mine"}, 403, "", "insufficient_role"),
]


async def everything(desk: Desk) -> dict[str, list[Any]]:
    """Return all that the database holds; of what was told, what is no refusal."""
    names = sorted(set(await desk.mongo.db.list_collection_names()) - ASIDE)
    held = {name: await desk.mongo.db[name].find().sort("_id", 1).to_list() for name in names}
    told = desk.mongo.db["outbox"].find({"type": {"$ne": "tenant.access_denied.v1"}}, {"_id": 1})
    return {**held, "outbox": await told.to_list()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(desk: Desk) -> Desk:
    """A customer that the service made itself, so that every index knows it, and a tenant that waits for a partner."""
    body = {**NEW, "slug": "acme", "name": "Acme", "domains": [{"name": "acme.example"}]}
    made = await desk.call("POST", "/api/tenants", body, STAFF)
    assert made.status_code == 201, made.text
    await desk.put("active", None, slug="waits")
    return desk


async def test_what_a_tenant_cannot_be_is_named_and_changes_nothing(town: Desk) -> None:
    before, wrong = await everything(town), []
    tried = [(STAFF, "POST", "/api/tenants", {**NEW, **change}, *wanted) for change, *wanted in CREATE]
    for caller, method, path, body, status, field, code in [*tried, *ACT]:
        answer = await town.call(method, path, body, caller)
        problem = answer.json()
        named = {(error["field"], error["code"]) for error in problem.get("errors", [])}
        clear = (field, code) in named if field else problem["code"] == code
        if answer.status_code != status or not clear or not problem.get("detail", code):
            wrong.append(f"{method} {path} {body}: {answer.status_code} {answer.text}")
        after = await everything(town)
        if after != before:
            wrong.append(f"{method} {path} {body}: changed {[n for n in after if after[n] != before.get(n)]}")
            before = after
    assert wrong == [], "\n" + "\n".join(wrong)


async def test_what_is_next_to_it_is_taken(town: Desk) -> None:
    """The refusals above are for what they say, and not for something else about the same bodies."""
    domains = [{"name": f"d{n}.example"} for n in range(50)]
    good = {**NEW, "slug": "initech", "seats": 100_000, "domains": domains, "billing": {"contact": "b@initech.example"}}
    made = await town.call("POST", "/api/tenants", good, STAFF)
    assert made.status_code == 201, made.text
    assert [domain["name"] for domain in made.json()["domains"] if domain["primary"]] == ["d0.example"]
    assert (await town.call("PUT", "/api/tenants/waits/partner", {"partner": "fjord"})).status_code == 200


async def test_a_slug_is_never_used_again_nor_anything_that_looks_like_it(town: Desk) -> None:
    body = {**NEW, "slug": "lumon", "name": "Lumon"}
    assert (await town.call("POST", "/api/tenants", body, STAFF)).status_code == 201
    await town.mongo.db["tenants"].update_one({"slug": "lumon"}, {"$set": {"status": "deleted"}})
    for slug, code in (("lumon", "slug_taken"), ("lurnon", "slug_too_similar")):
        again = await town.call("POST", "/api/tenants", {**NEW, "slug": slug}, STAFF)
        assert (again.status_code, again.json()["code"]) == (409, code)


async def test_a_tenant_from_before_the_rule_keeps_a_slug_that_looks_like_another(town: Desk) -> None:
    await town.put("active", slug="acrne")
    renamed = await town.call("PATCH", "/api/tenants/acrne", {"name": "Acrne Ltd"}, STAFF)
    assert renamed.status_code == 200, renamed.text
