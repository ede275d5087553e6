"""The people of a tenant that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.tenant.authentik import Authentik
from services.tenant.people.departures import Departures
from services.tenant.people.wiring import wire_people
from services.tenant.projections.repository import PartnerProjection
from services.tenant.repository import TenantRepository
from services.tenant.settings import TenantSettings
from shared.app import Platform
from shared.contracts.user import PartnerRoleState
from shared.mongo import Mongo
from shared.testing import tenant_person
from tests.sandbox.authentik.process import SEED, StandIn
from tests.support.waiting import eventually
from tests.tenant.people import House, provider, running


@pytest.fixture
async def departures(service_environment: Any, mongo: Mongo, authentik: StandIn) -> AsyncIterator[Departures]:
    """Without the service: nothing but this works on the database."""
    settings = TenantSettings(**service_environment("tenant", **provider(authentik)))
    platform, client = Platform.build("tenant", settings), Authentik(authentik.url, SEED["apiToken"])
    tenants, partners = TenantRepository(platform.mongo), PartnerProjection(platform.mongo)
    yield wire_people(platform, tenants, partners, client, timedelta(days=1)).departures
    await client.close()
    await platform.mongo.close()


async def test_everybody_leaves_once_and_who_has_no_other_place_is_erased(
    departures: Departures, mongo: Mongo, authentik: StandIn
) -> None:
    house = House(None, mongo, authentik, "gone.example")  # type: ignore[arg-type]
    await house.tenant("acme")
    await house.tenant("globex")
    only = [
        await house.human("admin", tenants={"acme": "admin"}),  # the last one
        await house.human("member", tenants={"acme": "member"}),
        await house.human("invited", tenants={"acme": "member"}, status="inviting", identities=()),
        await house.human("inactive", tenants={"acme": "member"}, status="inactive"),
    ]
    elsewhere = [
        await house.human("both", tenants={"acme": "member", "globex": "admin"}),
        await house.human("staff", tenants={"acme": "admin"}, partner=PartnerRoleState(slug="nordic", role="staff")),
    ]
    stranger = await house.human("stranger", tenants={"globex": "member"})
    assert await departures.dismiss("acme", limit=2) == 2
    handled = await asyncio.gather(*(departures.dismiss("acme", limit=3) for _ in range(2)))
    assert max(handled) == 3
    while await departures.dismiss("acme", limit=100):
        pass
    assert {(await house.stored(human.id))["status"] for human in only} == {"erased"}
    both, staff = [await house.stored(human.id) for human in elsewhere]
    assert (both["status"], both["tenants"], staff["tenants"]) == ("active", {"globex": "admin"}, {})
    assert (await house.stored(stranger.id))["version"] == 1
    erased, changed = await house.events("user.erased.v1"), await house.events("user.role_changed.v1")
    assert sorted(event["resource"]["id"] for event in erased) == sorted(human.id for human in only)
    assert sorted(event["resource"]["id"] for event in changed) == sorted(human.id for human in elsewhere)
    assert {event["version"] for event in [*erased, *changed]} == {2}
    assert await house.seats("acme") == (0, 0)
    assert await mongo.db["people_tasks"].count_documents({"kind": "erase", "state": "open"}) == 4
    assert await departures.dismiss("acme") == 0


async def test_of_two_workers_that_dismiss_the_same_people_each_is_handled_once(
    departures: Departures, mongo: Mongo, authentik: StandIn
) -> None:
    house = House(None, mongo, authentik, "gone.example")  # type: ignore[arg-type]
    await house.tenant("acme", seats=20)
    for number in range(6):
        await house.human(f"p{number}", tenants={"acme": "member", "globex": "member"})
    await asyncio.gather(*(departures.dismiss("acme") for _ in range(3)))
    assert await departures.dismiss("acme") == 0
    assert len(await house.events("user.role_changed.v1")) == 6


async def test_the_accounts_of_the_erased_go(
    service_environment: Any, mongo: Mongo, authentik: StandIn, departures: Departures
) -> None:
    environment = service_environment("tenant", **provider(authentik))
    async with running(environment, mongo, authentik) as house:
        await house.tenant("acme")
        made = await house.invite("/api/tenants/acme/users", tenant_person("acme", "admin"), "anna")
        assert (made.status_code, len(house.accounts("anna"))) == (201, 1)
        assert await departures.dismiss("acme") == 1

        async def gone() -> bool:
            return house.accounts("anna") == []

        await eventually(gone)
