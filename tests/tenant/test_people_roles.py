"""Roles, deactivation and who may see whom."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from services.tenant.people.models import Human, Identity
from shared.auth import Person
from shared.contracts.user import PartnerRoleState
from shared.testing import operator, partner_person, person, tenant_person
from tests.support.waiting import eventually
from tests.tenant.people import CALLERS, House, caller_for, owner_of

STAFF = PartnerRoleState(slug="nordic", role="staff")
OWNER, STAFFER = partner_person("nordic", "owner"), partner_person("nordic", "staff")


async def known(house: House, name: str, **changes: Any) -> Human:
    """Somebody who is known here and at the identity provider."""
    account = house.make_account(name)
    return await house.human(name, identities=(Identity("authentik", account["uid"]),), **changes)


async def call(house: House, verb: str, path: str, caller: Person, body: Any = None, **headers: str) -> httpx.Response:
    return await house.http.request(verb, path, json=body, headers=CALLERS.headers(caller, **headers))


async def test_of_two_owners_who_demote_each_other_at_once_one_remains(house: House) -> None:
    await house.partner("nordic")
    for attempt in range(4):
        pair = [await house.human(f"o{attempt}{n}", partner=owner_of("nordic")) for n in range(2)]
        paths = [f"/api/partners/nordic/users/{human.id}" for human in pair]
        replies = await asyncio.gather(
            *(call(house, "PATCH", path, operator(), {"role": "staff"}) for path in paths),
        )
        assert sorted(reply.status_code for reply in replies) == [200, 409]
        assert [reply.json()["code"] for reply in replies if reply.status_code == 409] == ["last_owner"]
        owners = [row for row in await house.listed("/api/partners/nordic/users") if row["role"] == "owner"]
        assert len(owners) == 1
        await house.mongo.db["people"].delete_many({})


async def test_of_two_admins_removed_and_deactivated_at_once_one_remains(house: House) -> None:
    await house.tenant("acme")
    one, two = [await house.human(name, tenants={"acme": "admin"}) for name in ("one", "two")]
    replies = await asyncio.gather(
        call(house, "DELETE", f"/api/tenants/acme/users/{one.id}", operator()),
        call(house, "POST", f"/api/users/{two.id}/deactivate", operator()),
    )
    assert sorted(reply.status_code for reply in replies)[1] == 409
    refused = next(reply for reply in replies if reply.status_code == 409)
    assert refused.json()["code"] == "last_admin"


async def test_the_last_operator_is_not_deactivated_and_who_never_came_to_be_does_not_count(house: House) -> None:
    last = await house.human("olga", platform_admin=True)
    await house.human("pending", platform_admin=True, status="inviting", identities=())
    await house.human("gone", platform_admin=True, status="inactive")
    refused = await call(house, "POST", f"/api/users/{last.id}/deactivate", operator())
    assert (refused.status_code, refused.json()["code"]) == (409, "last_operator")
    assert (await house.stored(last.id))["status"] == "active"


async def test_a_role_change_names_the_version_it_expects(house: House) -> None:
    await house.partner("nordic")
    anna = await known(house, "anna", partner=owner_of("nordic"))
    bert = await known(house, "bert", partner=STAFF)
    path = f"/api/partners/nordic/users/{bert.id}"
    changed = await call(house, "PATCH", path, OWNER, {"role": "owner"}, if_match='"1"')
    assert (changed.status_code, changed.json()["role"], changed.headers["etag"]) == (200, "owner", '"2"')
    stale = await call(house, "PATCH", path, OWNER, {"role": "staff"}, if_match='"1"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    same = await call(house, "PATCH", path, OWNER, {"role": "owner"}, if_match='"2"')
    assert same.headers["etag"] == '"2"'
    (event,) = await house.events("user.role_changed.v1")
    assert event["changes"] == {
        **event["changes"],
        "partner": {"before": {"slug": "nordic", "role": "staff"}, "after": {"slug": "nordic", "role": "owner"}},
    }
    assert event["resource"]["partnerSlug"] == "nordic"
    assert (await call(house, "DELETE", path, OWNER, if_match='"1"')).status_code == 412
    assert (await call(house, "DELETE", f"/api/partners/nordic/users/{anna.id}", OWNER)).status_code == 204


async def test_the_group_of_partners_people_follows_the_role(house: House) -> None:
    await house.partner("nordic")
    await known(house, "anna", partner=owner_of("nordic"))
    made = (await house.invite("/api/partners/nordic/users", OWNER, "bert")).json()
    assert house.groups_of("bert") == ["dezky-partner-staff"]
    assert (await call(house, "DELETE", f"/api/partners/nordic/users/{made['userId']}", OWNER)).status_code == 204

    async def left() -> bool:
        return house.groups_of("bert") == []

    await eventually(left)
    again = await house.invite("/api/partners/nordic/users", OWNER, "bert")
    assert (again.status_code, again.json()["handoff"]) == (201, "existing")
    assert house.groups_of("bert") == ["dezky-partner-staff"]


async def test_removing_the_role_of_a_pending_invitation_withdraws_it(house: House) -> None:
    await house.tenant("acme", seats=1)
    house.fault(effect="error", pathPrefix="/api/v3/core/users/")
    made = await house.invite("/api/tenants/acme/users", OWNER, "anna")
    assert made.status_code == 202
    gone = await call(house, "DELETE", f"/api/tenants/acme/users/{made.json()['userId']}", OWNER)
    assert gone.status_code == 204
    house.heal()
    assert await house.mongo.db["people"].count_documents({}) == 0
    (event,) = await house.events("user.invite_withdrawn.v1")
    assert (event["reason"], event["state"]["status"]) == ("role_removed", "withdrawn")
    again = await house.invite("/api/tenants/acme/users", OWNER, "anna")
    assert again.status_code == 201


async def test_a_deactivated_person_is_out_at_once_and_their_account_follows(house: House) -> None:
    anna = await known(house, "anna", last_seen=None)
    done = await call(house, "POST", f"/api/users/{anna.id}/deactivate", operator(), idempotency_key="k1")
    assert (done.status_code, done.json()["status"], done.json()["active"], done.headers["etag"]) == (
        200,
        "inactive",
        False,
        '"2"',
    )
    (event,) = await house.events("user.deactivated.v1")
    assert (event["version"], event["resource"]["id"], event["outcome"]) == (2, anna.id, "success")
    assert (await call(house, "POST", f"/api/users/{anna.id}/deactivate", operator())).headers["etag"] == '"2"'

    async def account_is(active: bool) -> bool:
        return house.account("anna")["is_active"] is active

    await eventually(lambda: account_is(False))
    assert (await house.listed("/api/users?inactive=true"))[0]["id"] == anna.id
    back = await call(house, "POST", f"/api/users/{anna.id}/reactivate", operator())
    assert (back.status_code, back.json()["status"]) == (200, "invited")  # nobody has seen her here yet
    await eventually(lambda: account_is(True))


async def test_with_the_provider_away_a_deactivation_counts_and_is_told_later(house: House) -> None:
    anna = await known(house, "anna")
    house.fault(effect="drop", pathPrefix="/api/v3/")
    done = await call(house, "POST", f"/api/users/{anna.id}/deactivate", operator())
    assert done.status_code == 200

    async def shown() -> bool:
        seen = (await house.http.get(f"/api/users/{anna.id}", headers=CALLERS.headers(operator()))).json()
        return bool(seen["pending"] == {"reason": "authentik_unavailable"})

    await eventually(shown)
    house.heal()

    async def told() -> bool:
        seen = (await house.http.get(f"/api/users/{anna.id}", headers=CALLERS.headers(operator()))).json()
        return house.account("anna")["is_active"] is False and seen["pending"] is None

    await eventually(told)


async def test_a_tenant_deactivates_only_whom_nobody_else_has(house: House) -> None:
    await house.tenant("acme")
    await house.human("boss", tenants={"acme": "admin"})
    own = await known(house, "own", tenants={"acme": "member"})
    shared = await house.human("shared", tenants={"acme": "member", "globex": "member"})
    admin = tenant_person("acme", "admin")
    refused = await call(house, "POST", f"/api/tenants/acme/users/{shared.id}/deactivate", admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "belongs_elsewhere")
    done = await call(house, "POST", f"/api/tenants/acme/users/{own.id}/deactivate", admin)
    assert (done.status_code, done.json()["status"]) == (200, "inactive")
    foreign = await call(house, "POST", f"/api/tenants/acme/users/{(await house.human('x')).id}/deactivate", admin)
    assert foreign.status_code == 404


async def test_a_deactivated_person_frees_the_seat_and_needs_one_to_come_back(house: House) -> None:
    await house.tenant("acme", seats=1)
    anna = await known(house, "anna", tenants={"acme": "member"})
    assert (await call(house, "POST", f"/api/users/{anna.id}/deactivate", operator())).status_code == 200
    assert (await house.invite("/api/tenants/acme/users", OWNER, "bert")).status_code == 201
    refused = await call(house, "POST", f"/api/users/{anna.id}/reactivate", operator())
    assert (refused.status_code, refused.json()["code"]) == (409, "seat_limit_reached")


NOBODY = person()
ACCESS: list[tuple[Any, ...]] = [
    # caller, list partner, invite partner, list tenant, invite tenant
    (operator(), 200, 201, 200, 201),
    (OWNER, 200, 201, 200, 201),
    (STAFFER, 200, 403, 200, 201),
    (partner_person("fjord", "owner"), 404, 404, 404, 404),
    (tenant_person("acme", "admin"), 404, 404, 200, 201),
    (tenant_person("acme", "member"), 404, 404, 403, 403),
    (tenant_person("globex", "admin"), 404, 404, 404, 404),
    (NOBODY, 404, 404, 404, 404),
    (operator(surface="portal"), 404, 404, 404, 404),
]


async def test_every_role_meets_the_cell_of_the_table(house: House) -> None:
    await house.tenant("acme", seats=50)
    for number, (caller, *cells) in enumerate(ACCESS):
        await _check_cells(house, number, caller, cells)


async def _check_cells(house: House, number: int, caller: Person, cells: list[int]) -> None:
    partner, tenant = "/api/partners/nordic/users", "/api/tenants/acme/users"
    before = await house.mongo.db["people"].count_documents({})
    got = [
        (await call(house, "GET", partner, caller)).status_code,
        (await house.invite(partner, caller, f"anna{number}")).status_code,
        (await call(house, "GET", tenant, caller)).status_code,
        (await house.invite(tenant, caller, f"bert{number}")).status_code,
    ]
    assert got == cells, caller
    assert await house.mongo.db["people"].count_documents({}) - before == got.count(201)
    if not caller.is_operator:
        refused = [
            await call(house, "GET", "/api/users", caller),
            await call(house, "POST", f"/api/users/{caller.id}/deactivate", caller),
            await house.invite("/api/users/invite", caller, "x"),
        ]
        assert [(r.status_code, r.json()["code"]) for r in refused] == [(403, "operator_token_required")] * 3


async def test_an_unknown_partner_does_not_exist_and_a_suspended_one_takes_nobody(house: House) -> None:
    await house.partner("tired", "suspended")
    codes = [
        (await house.invite(f"/api/partners/{slug}/users", operator(), "anna")).json()["code"]
        for slug in ("nothing", "tired")
    ]
    assert codes == ["not_found", "partner_not_active"]
    assert await house.mongo.db["people"].count_documents({}) == 0


async def test_me_says_who_where_and_on_which_surfaces(house: House) -> None:
    await house.tenant("acme")
    anna = await house.human("anna", partner=STAFF, tenants={"acme": "admin"})
    reply = await call(house, "GET", "/api/me", caller_for(anna))
    assert reply.json() == {
        "id": anna.id,
        "email": anna.email,
        "name": "Anna",
        "surface": "portal",
        "surfaces": ["portal"],
        "platformAdmin": False,
        "partner": {"slug": "nordic", "name": "Nordic", "role": "staff"},
        "tenants": [{"slug": "acme", "name": "Acme", "status": "active", "role": "admin"}],
    }
    unchanged = await call(house, "GET", "/api/me", caller_for(anna), if_none_match=reply.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    await call(house, "POST", "/api/tenants/acme/suspend", operator(), {"reason": "unpaid"})
    later = await call(house, "GET", "/api/me", caller_for(anna), if_none_match=reply.headers["etag"])
    assert later.json()["tenants"][0]["status"] == "suspended"
    assert (await call(house, "GET", "/api/me", operator())).json()["surfaces"] == ["operator", "portal"]


async def test_operators_find_people_by_the_beginnings_of_name_and_address(house: House) -> None:
    await house.human("ann", name="Ann-Marie Älv")
    await house.human("bert", name="Bert Marielund")
    await house.human("carl", name="Carl", platform_admin=True)

    async def found(query: str) -> list[str]:
        return [row["email"].partition("@")[0] for row in await house.listed(f"/api/users?{query}")]

    assert await found("q=marie") == ["ann", "bert"]
    assert await found("q=%C3%A4l") == ["ann"]
    assert await found(f"q=bert@{house.domain[:4]}") == ["bert"]
    assert await found("q=arie") == []
    assert [await found(f"q={odd}") for odd in (".*", ".*@", "%00@", "%EF%BF%BD@", "-")] == [[]] * 5
    assert await found("admins=true") == ["carl"]
    first = await house.http.get("/api/users?limit=2", headers=CALLERS.headers(operator()))
    rest = await house.http.get(
        f"/api/users?limit=2&cursor={first.json()['next']}", headers=CALLERS.headers(operator())
    )
    assert [len(first.json()["items"]), len(rest.json()["items"]), rest.json()["next"]] == [2, 1, None]
    assert 'rel="next"' in first.headers["link"]


async def test_a_list_of_one_place_does_not_tell_of_others(house: House) -> None:
    await house.tenant("acme")
    await house.human("anna", tenants={"acme": "member", "globex": "admin"}, partner=owner_of("fjord"))
    reply = await call(house, "GET", "/api/tenants/acme/users", tenant_person("acme", "admin"))
    assert "globex" not in reply.text
    assert "fjord" not in reply.text


async def test_the_platform_keeps_its_last_operator_when_a_token_says_otherwise(house: House) -> None:
    olga, oscar = [await house.human(name, platform_admin=True) for name in ("olga", "oscar")]
    pair = ((olga, "olga"), (oscar, "oscar"))
    answers = await asyncio.gather(*(house.sign_in(human.identities[0].subject, name) for human, name in pair))
    assert sorted(answer["platformAdmin"] for answer in answers) == [False, True]
    assert [row["id"] for row in await house.listed("/api/users?admins=true")] == [
        answer["id"] for answer in answers if answer["platformAdmin"]
    ]
