"""People of a tenant in the backends: renamed, moved, gone and erased; and how much is asked of a backend at once."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.tenant.authentik import PAGE_SIZE, Authentik, AuthentikBusy
from services.tenant.models import MAX_SEATS
from services.tenant.patience import SPREAD, Patience, spread
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.models import Human
from services.tenant.provisioning.access_groups import MEMBER_PAGES, AccessGroups
from services.tenant.provisioning.jmap import Jmap
from services.tenant.provisioning.libre_graph import LibreGraph
from services.tenant.provisioning.remote import RemoteBusy
from shared.clock import SystemClock
from shared.testing import operator
from tests.sandbox.authentik.process import SEED
from tests.sandbox.ocis.process import MANAGER
from tests.sandbox.ocis.process import TOKEN as OCIS_TOKEN
from tests.sandbox.stalwart.process import API_KEY
from tests.support.waiting import eventually
from tests.tenant.suite import CALLERS, Suite, World, suite, world

__all__ = ["suite", "world"]


def erased(human: Human) -> dict[str, Any]:
    """What is left of a person who is erased: an id."""
    nobody = {"email": "", "name": "", "identities": (), "tenants": {}, "status": "erased", "account": None}
    return {**nobody, "erased_at": SystemClock().now()}


async def suite_of(world: World, human: Human) -> dict[str, str]:
    """What the report of an erasure says of a person's mailbox and files."""
    path = f"/api/users/{human.id}/erasure"
    reply = await world.http.get(path, headers=CALLERS.headers(operator()))
    assert reply.status_code == 200, reply.text
    return {one["backend"]: one["status"] for one in reply.json()["backends"] if one["tenantSlug"] == world.slug()}


async def test_a_person_who_is_renamed_promoted_or_moved_is_followed_in_all_three(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.create("other", domains=False)
    await world.settled("Provisioned")
    before = world.mailboxes()[anna.email]["id"]
    user = world.ocis_users()[anna.email]
    named = await world.change(anna, email=f"hanna@{world.domain}", name="Hanna", tenants={world.slug(): "admin"})

    async def renamed() -> bool:
        box = world.mailboxes().get(named.email, {"id": "", "description": ""})
        assert (box["id"], box["description"]) == (before, "Hanna")
        assert world.ocis_users() == {named.email: user}
        return world.in_space().get(named.email) == MANAGER

    await eventually(renamed)
    await world.change(named, tenants={world.slug("other"): "member"})

    async def moved() -> bool:
        there = world.suite.authentik.results("/core/groups/", name=f"dezky-tenant-{world.slug('other')}")[0]["pk"]
        groups = world.account(anna)["groups"]
        assert there in groups
        assert world.groups()[0]["pk"] not in groups
        assert named.email not in world.in_space()
        # Their mail at the old tenant is kept, and nobody gets at it.
        return world.mailboxes()[named.email]["permissions"]["@type"] == "Merge"

    await eventually(moved)
    assert world.suite_sign_in(anna) == (200, "")


async def test_what_was_made_for_an_erased_person_is_destroyed_and_what_was_adopted_is_not(world: World) -> None:
    anna, bert, carl = [await world.person(name) for name in ("anna", "bert", "carl")]
    await world.create()
    await world.settled("Provisioned")
    # Made by somebody else, before they came.
    late = f"dora@{world.domain}"
    world.suite.stalwart.user("dora", world.domains()[0])
    world.suite.ocis.user(late, mail=late)
    dora = await world.person("dora")

    async def adopted() -> bool:
        return late in world.in_space() and world.mailboxes()[late]["description"] == "Dora"

    await eventually(adopted)
    # One who has left already, one who is here; both by the same act.
    anna = await world.change(anna, tenants={})

    async def anna_out() -> bool:
        return anna.email not in world.in_space() and world.mailboxes()[anna.email]["permissions"]["@type"] == "Merge"

    await eventually(anna_out)
    for human in (anna, bert, dora):
        begun = functools.partial(ErasureBook(world.mongo).begin, human)
        await world.mongo.transactions.run(begun)
        await world.change(human, **erased(human))

    async def destroyed() -> bool:
        assert late not in world.in_space()
        assert world.mailboxes().keys() == {carl.email, late}
        return not {anna.email, bert.email} & world.ocis_users().keys()

    await eventually(destroyed)
    await world.act("reconcile")
    await world.settled("Provisioned")
    assert world.ocis_users().keys() == {carl.email, late}
    assert world.mailboxes().keys() == {carl.email, late}
    assert world.mailboxes()[late]["permissions"]["@type"] == "Merge"
    gone, stays = {"stalwart": "gone", "ocis": "gone"}, {"stalwart": "kept", "ocis": "kept"}

    async def reported() -> bool:
        return [await suite_of(world, human) for human in (anna, bert, dora)] == [gone, gone, stays]

    await eventually(reported)


async def test_whoever_gets_the_address_of_somebody_who_left_does_not_get_their_mail(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    old = world.mailboxes()[anna.email]["id"]
    await world.change(anna, tenants={}, email=f"anna@elsewhere-{world.mark}.example")
    await eventually(lambda: stopped(world, f"anna@{world.domain}"))
    heir = await world.person("heir")
    await world.change(heir, email=f"anna@{world.domain}")

    async def refused() -> bool:
        return (await world.conditions())["stalwart"] == ("failed", "AddressTaken")

    await eventually(refused)
    assert heir.id in (await world.tenant())["provisioning"]["stalwart"]["message"]
    box = world.mailboxes()[f"anna@{world.domain}"]
    assert (box["id"], box["permissions"]["@type"]) == (old, "Merge")


async def stopped(world: World, address: str) -> bool:
    return bool(world.mailboxes()[address]["permissions"]["@type"] == "Merge")


async def test_a_domain_that_a_tenant_gives_up_goes_once_it_is_empty_and_is_shut_with_the_tenant_until_then(
    world: World,
) -> None:
    dora = await world.person("dora", email=f"dora@e{world.mark}.example")
    await world.create()
    empty, used = f"e{world.mark}.example", f"u{world.mark}.example"
    path, headers = f"/api/tenants/{world.slug()}", CALLERS.headers(operator())

    async def have(*names: str) -> None:
        domains = [{"name": name, "primary": name == world.domain} for name in names]
        assert (await world.http.patch(path, json={"domains": domains}, headers=headers)).status_code == 200
        await world.settled("Provisioned")

    def known(name: str) -> list[str]:
        ids: list[str] = world.suite.stalwart.call("x:Domain/query", {"filter": {"name": name}})["ids"]
        return ids

    await have(world.domain, empty, used)
    world.suite.stalwart.user("info", known(used)[0])
    assert len(world.mailboxes()[f"dora@{world.domain}"]["aliases"]) == 1
    await have(world.domain)
    # The alias went with the domain; the mailbox of somebody who has no address at the tenant is kept, and stopped.
    assert await stopped(world, f"dora@{world.domain}")
    assert world.suite.stalwart.mail(dora.email) == "bounced"
    assert (known(empty), len(known(used))) == ([], 1)
    await world.act("suspend", body={"reason": "unpaid"})
    await world.settled("Proven")
    assert world.suite.stalwart.sign_in(f"info@{used}").status_code == 403
    await world.delete()
    await world.deleted()
    assert known(used) == []


async def test_after_one_429_nobody_asks_that_integration_until_its_pause_is_over(suite: Suite) -> None:
    graph, jmap = LibreGraph(suite.ocis.url, OCIS_TOKEN), Jmap(suite.stalwart.url, API_KEY)
    authentik = Authentik(suite.authentik.url, SEED["apiToken"])
    calls: list[tuple[Any, Any]] = [
        (suite.ocis, lambda: graph.spaces()),
        (suite.stalwart, lambda: jmap.query("Domain")),
        (suite.authentik, lambda: authentik.accounts(username="nobody")),
    ]
    for process, call in calls:
        rule = {"effect": "throttle", "retryAfterSeconds": 30, "count": 1}
        assert process.http.post("/_sandbox/faults", json=rule).status_code == 201
        known = len(process.http.get("/_sandbox/requests").json())
        waits = []
        for _ in range(8):
            with pytest.raises((RemoteBusy, AuthentikBusy)) as busy:
                await call()
            waits.append(busy.value.retry_after)
        assert len(process.http.get("/_sandbox/requests").json()) == known + 1
        assert all(29 <= wait <= 30 for wait in waits)
    await graph.close()
    await jmap.close()
    await authentik.close()
    suite.heal()


@pytest.mark.unit
def test_a_pause_ends_and_a_shorter_one_does_not_end_it_earlier() -> None:
    moments = iter([0.0, 1.0, 1.0, 9.5, 10.0])
    patience = Patience(RemoteBusy, lambda: next(moments))
    patience.asked(10)
    patience.asked(2)
    assert [patience.left() for _ in range(3)] == [10, 1, 0]
    assert all(10 <= spread(10) <= 10 * (1 + SPREAD) for _ in range(100))


@pytest.mark.unit
async def test_the_members_of_the_largest_tenant_are_read_to_the_last_page() -> None:
    # More than fifty pages; how many there may be is asserted beside it.
    people, size = 8_000, 100
    assert MEMBER_PAGES * PAGE_SIZE >= MAX_SEATS

    def page(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["page"])
        rows = [
            {"pk": pk, "uid": f"u{pk}", "username": f"n{pk}", "email": "", "is_active": True, "groups": []}
            for pk in range((number - 1) * size, number * size)
        ]
        return httpx.Response(
            200, json={"results": rows, "pagination": {"next": number + 1 if number < people // size else 0}}
        )

    authentik = Authentik("http://a.example", "t", deadline=timedelta(seconds=5), transport=httpx.MockTransport(page))
    found = await AccessGroups(authentik).members("g")
    await authentik.close()
    assert (len(found), found[-1].pk) == (people, people - 1)
