"""Who may do what with partners: FEATURES' table, its rows about partners, and the order of refusals."""

from __future__ import annotations

from typing import Any

import httpx

from shared.auth import Person, ServicePrincipal
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person, person, tenant_person
from tests.partner.examples import CALLERS, FJORD, NORDIC, create

NEW = {**NORDIC, "slug": "baltic"}
# An operator's group counts on the operator surface only.
OFF_DUTY = operator(surface="portal")
ON_OPERATOR_SURFACE = partner_person("nordic", "owner", surface="operator")

REFUSED = ("operator_token_required",) * 3
OF_NORDIC = (200, "nordic", 200, 404, 404)
NOTHING = (404, "", 404, 404, 404)
# What is answered to: list, and whom it shows; read nordic, fjord, nobody; create; change nordic, fjord.
TABLE: dict[str, tuple[Person, tuple[Any, ...]]] = {
    "owner": (partner_person("nordic", "owner"), (*OF_NORDIC, *REFUSED)),
    "staff": (partner_person("nordic", "staff"), (*OF_NORDIC, *REFUSED)),
    "owner on the operator surface": (
        partner_person("nordic", "owner", surface="operator"),
        (*OF_NORDIC, "insufficient_role", "insufficient_role", 404),
    ),
    "tenant admin": (tenant_person("acme", "admin"), (*NOTHING, 404, 404, 404)),
    "tenant member": (tenant_person("acme", "member"), (*NOTHING, 404, 404, 404)),
    "nobody": (person(), (*NOTHING, 404, 404, 404)),
    "nobody on the operator surface": (person(surface="operator"), (*NOTHING, 404, 404, 404)),
    # The operators' group counts on the operator surface only.
    "operator with a portal token": (operator(surface="portal"), (*NOTHING, *REFUSED)),
    "operator": (operator(), (200, "fjord nordic", 200, 200, 404, 201, 200, 200)),
}


def outcome(answer: httpx.Response) -> int | str:
    """Return the status, or the code of a 403."""
    return str(answer.json()["code"]) if answer.status_code == 403 else answer.status_code


async def everything(client: httpx.AsyncClient, caller: Person) -> tuple[int | str, ...]:
    """Ask for all that there is and return what was answered, in the order of the table."""
    headers = CALLERS.headers(caller)
    listed = await client.get("/api/partners", headers=headers)
    shown = " ".join(item["slug"] for item in listed.json().get("items", []))
    rest = [await client.get(f"/api/partners/{slug}", headers=headers) for slug in ("nordic", "fjord", "nobody")]
    rest.append(await client.post("/api/partners", json=NEW, headers=headers))
    change = {"name": "Taken over"}
    rest += [await client.patch(f"/api/partners/{slug}", json=change, headers=headers) for slug in ("nordic", "fjord")]
    return (listed.status_code, shown, *(outcome(answer) for answer in rest))


async def test_every_role_may_do_what_the_table_says_and_every_403_is_recorded(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    await create(client, NORDIC, FJORD)
    before = await mongo.db["partners"].find().sort("slug", 1).to_list()
    for name, (caller, expected) in TABLE.items():
        assert await everything(client, caller) == expected, name
        if not caller.is_operator:
            assert await mongo.db["partners"].find().sort("slug", 1).to_list() == before, name
        denied = await mongo.db["outbox"].find({"type": "partner.access_denied.v1"}).sort("_id", 1).to_list()
        codes = [row["envelope"]["data"]["code"] for row in denied]
        assert codes == [code for code in expected[5:] if isinstance(code, str)], name
        await mongo.db["outbox"].delete_many({"type": "partner.access_denied.v1"})


async def test_what_is_outside_the_scope_answers_like_what_does_not_exist(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC, FJORD)
    for caller in (partner_person("nordic"), tenant_person("acme")):
        headers = CALLERS.headers(caller)
        foreign = await client.get("/api/partners/fjord", headers=headers)
        missing = await client.get("/api/partners/nothing", headers=headers)
        assert {**foreign.json(), "requestId": ""} == {**missing.json(), "requestId": ""}
        assert foreign.status_code == 404


async def test_a_bad_body_tells_nobody_more_than_a_good_one(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC)
    for method, path in (("POST", "/api/partners"), ("PATCH", "/api/partners/nordic")):
        hidden = await client.request(method, path, json={"slug": 1}, headers=CALLERS.headers(tenant_person()))
        assert hidden.status_code == 404
        refused = await client.request(method, path, json={"slug": 1}, headers=CALLERS.headers(partner_person()))
        assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")


async def test_a_filter_or_a_cursor_of_an_operator_widens_nobodys_view(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC, FJORD)
    first = (await client.get("/api/partners?limit=1", headers=CALLERS.headers(operator()))).json()
    staff = CALLERS.headers(partner_person("fjord"))
    assert (await client.get(f"/api/partners?cursor={first['next']}", headers=staff)).json()["items"] == []
    assert (await client.get("/api/partners?q=nordic", headers=staff)).json()["items"] == []


async def test_a_refusal_is_recorded_with_who_and_what(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await create(client, NORDIC)
    staff = partner_person("nordic")
    await client.patch("/api/partners/nordic", json={"name": "Mine"}, headers=CALLERS.headers(staff))
    denied = await mongo.db["outbox"].find_one({"type": "partner.access_denied.v1"})
    assert denied is not None
    told = denied["envelope"]["data"]
    assert (told["outcome"], told["operation"], told["code"]) == (
        "denied",
        "PATCH /api/partners/{slug}",
        "operator_token_required",
    )
    assert (told["actor"]["id"], told["actor"]["ip"], told["actor"]["surface"]) == (
        staff.id,
        "203.0.113.7",
        "portal",
    )
    assert told["resource"]["partnerSlug"] == "nordic"


async def test_without_a_genuine_token_for_this_service_nothing_is_told(client: httpx.AsyncClient) -> None:
    elsewhere = Callers("tenant").headers(operator())
    broken = {"authorization": "Bearer " + "a.b.c"}
    for method, path in (("GET", "/api/partners"), ("POST", "/api/partners"), ("PATCH", "/api/partners/nordic")):
        for headers in ({}, broken, elsewhere):
            refused = await client.request(method, path, headers=headers, json=NORDIC)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


async def test_the_snapshot_is_for_the_services_that_need_it(client: httpx.AsyncClient) -> None:
    for name, status in (("tenant", 200), ("billing", 200), ("audit", 403), ("gateway", 403), ("partner", 403)):
        service = CALLERS.headers(ServicePrincipal(name=name))
        assert (await client.get("/internal/snapshots/partners", headers=service)).status_code == status, name
        assert (await client.get("/api/partners", headers=service)).status_code == 403, name
    for caller in (operator(), partner_person("nordic"), tenant_person()):
        refused = await client.get("/internal/snapshots/partners", headers=CALLERS.headers(caller))
        assert (refused.status_code, refused.json()["code"]) == (403, "service_only")
