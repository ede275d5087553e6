"""What the platform says about a tenant is what Authentik, Stalwart and OCIS really hold."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.user import PartnerRoleState
from shared.mongo import Mongo
from shared.testing import operator, partner_person
from tests.sandbox.ocis.process import MANAGER
from tests.support.waiting import eventually
from tests.tenant.suite import CALLERS, Suite, World, is_disabled, serving, suite, world

__all__ = ["suite", "world"]
GIB = 2**30
EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"
REASON = {"reason": "unpaid"}


async def test_a_new_tenant_is_pending_until_every_integration_holds_what_it_needs(world: World) -> None:
    anna = await world.person("anna", tenants={world.slug(): "admin"})
    bert = await world.person("bert")
    created = await world.create(seats=5)
    assert created["status"] == "pending"
    assert {c["status"] for c in created["provisioning"].values()} == {"pending"}
    seen = await world.settled("Provisioned")
    assert (seen["status"], seen["version"]) == ("active", 2)
    (group,) = world.groups()
    assert group["attributes"] == {"dezky_tenant_id": created["id"]}
    assert world.members() == {anna.email, bert.email}
    assert world.suite_sign_in(anna) == (200, "")
    mailboxes = world.mailboxes()
    assert set(mailboxes) == {anna.email, bert.email}
    assert mailboxes[anna.email]["quotas"] == {"maxDiskQuota": 5 * GIB}
    space = world.space()
    assert created["id"] in space["description"]
    assert space["quota"]["total"] == 5 * 10 * GIB
    assert {anna.email: MANAGER, bert.email: EDITOR}.items() <= world.in_space().items()


async def test_activation_and_every_change_of_a_condition_is_one_event(world: World) -> None:
    await world.create()
    await world.settled("Provisioned")
    (activated,) = await world.events("tenant.activated.v1")
    assert activated["changes"] == {"status": {"before": "pending", "after": "active"}}
    changed = await world.events("tenant.provisioning_changed.v1")
    assert sorted(event["integration"] for event in changed) == ["authentik", "ocis", "stalwart"]
    assert [event["version"] for event in changed] == [1, 2, 3]
    assert {event["changes"]["status"]["after"] for event in changed} == {"ready"}
    row = await world.mongo.db["outbox"].find_one({"type": "tenant.provisioning_changed.v1"})
    assert row is not None
    assert row["aggregate"] == f"provisioning/{world.slug()}"


async def test_a_tenant_without_domains_needs_none(world: World) -> None:
    await world.create(domains=False)
    assert (await world.settled("Provisioned"))["status"] == "active"
    assert world.domains() == []


async def test_suspension_shuts_out_of_all_three_and_says_proven_and_resuming_undoes_it(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    world.give_mail_password(anna.email)
    assert world.suite.stalwart.sign_in(anna.email).status_code == 200
    suspended = await world.act("suspend", body=REASON)
    assert {c["status"] for c in suspended["provisioning"].values()} == {"pending"}
    await world.settled("Proven")
    assert world.suite_sign_in(anna) == (400, "invalid_grant")
    assert world.members() == set()
    assert world.suite.stalwart.sign_in(anna.email).status_code == 403
    assert (world.may_submit(anna.email), world.suite.stalwart.mail(anna.email)) == ("refused", "accepted")
    assert is_disabled(world.space())
    proven = [
        e for e in await world.events("tenant.provisioning_changed.v1") if e["changes"]["reason"]["after"] == "Proven"
    ]
    assert sorted(event["integration"] for event in proven) == ["authentik", "ocis", "stalwart"]

    await world.act("resume")
    assert (await world.settled("Provisioned"))["status"] == "active"
    assert world.suite_sign_in(anna) == (200, "")
    assert world.suite.stalwart.sign_in(anna.email).status_code == 200
    assert world.mailboxes()[anna.email]["permissions"] == {"@type": "Inherit"}
    assert not is_disabled(world.space())
    assert anna.email in world.in_space()


async def test_an_account_is_disabled_only_if_its_person_has_no_use_for_it_elsewhere(world: World) -> None:
    await world.create("other", domains=False)
    nobody_else = await world.person("anna")
    admin = await world.person("bert", tenants={world.slug(): "admin"})
    seller = await world.person("carl", partner=PartnerRoleState(slug="nordic", role="staff"))
    ops = await world.person("dora", platform_admin=True)
    both = await world.person("emil", tenants={world.slug(): "member", world.slug("other"): "member"})
    await world.create()
    await world.settled("Provisioned")
    await world.settled("Provisioned", "other")
    await world.act("suspend", body=REASON)
    await world.settled("Proven")
    active = {human.email: world.account(human)["is_active"] for human in (nobody_else, admin, seller, ops, both)}
    assert [email for email, enabled in active.items() if not enabled] == [nobody_else.email]
    # The suite's sign-in follows the other tenant; the suspended one's group does not.
    assert world.suite_sign_in(both) == (200, "")
    assert world.suite_sign_in(admin) == (400, "invalid_grant")
    assert world.members() == set()
    await world.act("resume")
    await world.settled("Provisioned")
    assert world.account(nobody_else)["is_active"]
    assert world.suite_sign_in(admin) == (200, "")


async def test_an_account_that_somebody_else_disabled_is_not_enabled_by_resuming(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    world.suite.authentik.api("PATCH", f"/core/users/{anna.account}/", {"is_active": False})
    await world.act("suspend", body=REASON)
    await world.settled("Proven")
    await world.act("resume")
    await world.settled("Provisioned")
    assert not world.account(anna)["is_active"]


async def test_who_joins_and_who_leaves_is_followed_everywhere(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    bert = await world.person("bert")

    async def both_in() -> bool:
        return world.members() == {anna.email, bert.email} and bert.email in world.in_space()

    await eventually(both_in)
    await world.change(anna, status="inactive")

    async def anna_out() -> bool:
        mail = world.mailboxes()[anna.email]["permissions"]["@type"]
        return world.members() == {bert.email} and anna.email not in world.in_space() and mail == "Merge"

    await eventually(anna_out)
    assert world.suite_sign_in(anna) == (400, "invalid_grant")
    assert world.suite_sign_in(bert) == (200, "")


async def test_drift_made_by_hand_is_repaired_at_the_next_resync(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    (group,) = world.groups()
    assert world.suite.authentik.api("DELETE", f"/core/groups/{group['pk']}/").status_code == 204
    box = world.mailboxes()[anna.email]
    world.suite.stalwart.update("Account", box["id"], {"quotas/maxDiskQuota": 1})
    path = f"/graph/v1.0/drives/{world.space()['id'].replace('$', '%24').replace('!', '%21')}"
    assert world.suite.ocis.send("PATCH", path, {"quota": {"total": 1}}).status_code == 200

    async def repaired() -> bool:
        assert [made["pk"] for made in world.groups()] not in ([], [group["pk"]])
        assert world.members() == {anna.email}
        assert world.mailboxes()[anna.email]["quotas"]["maxDiskQuota"] == 5 * GIB
        return bool(world.space()["quota"]["total"] == 50 * GIB)

    await eventually(repaired)


async def test_a_suspended_account_that_was_let_in_again_by_hand_is_shut_out_again(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    await world.act("suspend", body=REASON)
    await world.settled("Proven")
    world.suite.stalwart.update("Account", world.mailboxes()[anna.email]["id"], {"permissions": {"@type": "Inherit"}})

    async def stopped() -> bool:
        return bool(world.mailboxes()[anna.email]["permissions"]["@type"] == "Merge")

    await eventually(stopped)


async def test_what_others_made_in_the_domain_is_stopped_and_freed_with_the_tenant(world: World) -> None:
    await world.create()
    await world.settled("Provisioned")
    (domain,) = world.domains()
    world.suite.stalwart.user("info", domain)
    by_hand = {
        "@type": "Merge",
        "enabledPermissions": {},
        "disabledPermissions": {"authenticate": True, "emailSend": True},
    }
    world.suite.stalwart.user("locked", domain, permissions=by_hand)
    await world.act("suspend", body=REASON)
    await world.settled("Proven")
    assert world.suite.stalwart.sign_in(f"info@{world.domain}").status_code == 403
    await world.act("resume")
    await world.settled("Provisioned")
    assert world.suite.stalwart.sign_in(f"info@{world.domain}").status_code == 200
    assert world.suite.stalwart.sign_in(f"locked@{world.domain}").status_code == 403


async def test_a_domain_that_is_not_marked_as_the_tenants_is_left_alone_and_named(world: World) -> None:
    world.suite.stalwart.domain(world.domain, description="of somebody else")
    await world.create()

    async def named() -> bool:
        return (await world.conditions())["stalwart"] == ("failed", "NameTaken")

    await eventually(named)
    seen = await world.tenant()
    assert seen["status"] == "pending"
    assert world.domain in seen["provisioning"]["stalwart"]["message"]
    (event,) = [e for e in await world.events("tenant.provisioning_changed.v1") if e["integration"] == "stalwart"]
    assert event["outcome"] == "failure"


async def test_a_group_of_another_tenant_or_of_administrators_is_not_adopted(world: World) -> None:
    world.suite.authentik.new_group(f"dezky-tenant-{world.slug()}", attributes={"dezky_tenant_id": "of-another"})
    world.suite.authentik.new_group(f"dezky-tenant-{world.slug('root')}", is_superuser=True)
    await world.create()
    await world.create("root", domains=False)

    async def named() -> bool:
        found = [(await world.conditions(name))["authentik"] for name in ("acme", "root")]
        return found == [("failed", "NameTaken")] * 2

    await eventually(named)
    assert world.members() == set()


async def test_what_exists_under_our_name_is_adopted(world: World) -> None:
    made = world.suite.authentik.new_group(f"dezky-tenant-{world.slug()}", attributes={"kept": 1})
    stranger = world.suite.authentik.new_user(f"stranger-{world.mark}", groups=[made["pk"]])
    created = await world.create()
    await world.settled("Provisioned")
    (group,) = world.groups()
    assert (group["pk"], group["attributes"]) == (made["pk"], {"kept": 1, "dezky_tenant_id": created["id"]})
    assert stranger["username"] not in world.members()


async def test_an_operator_asks_for_a_comparison_and_nobody_else_does(world: World) -> None:
    await world.create()
    await world.settled("Provisioned")
    path = f"/api/tenants/{world.slug()}/reconcile"
    refused = await world.http.post(path, headers=CALLERS.headers(partner_person("nordic")))
    assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")
    accepted = await world.http.post(path, headers=CALLERS.headers(operator()))
    assert (accepted.status_code, accepted.json()["slug"]) == (202, world.slug())
    (asked,) = await world.events("tenant.reconcile_requested.v1")
    assert asked["actor"]["id"] == operator().id
    unknown = await world.http.post("/api/tenants/unheard-of/reconcile", headers=CALLERS.headers(operator()))
    assert unknown.status_code == 404


@pytest.mark.parametrize("integration", ["authentik", "stalwart", "ocis"])
async def test_suspension_is_not_proven_while_an_integration_cannot_be_asked(world: World, integration: str) -> None:
    await world.create()
    await world.settled("Provisioned")
    process: Any = getattr(world.suite, integration)
    process.http.post("/_sandbox/faults", json={"effect": "error"})
    await world.act("suspend", body=REASON)

    async def told() -> bool:
        found = await world.conditions()
        others = {name: seen for name, seen in found.items() if name != integration}
        return found[integration] == ("pending", "Away") and set(others.values()) == {("ready", "Proven")}

    await eventually(told)
    world.suite.heal()
    await world.settled("Proven")


async def test_a_suite_that_is_not_bound_to_its_group_is_named_as_what_still_lets_people_in(
    service_environment: Any, mongo: Mongo, suite: Suite
) -> None:
    # Anybody may sign in to the portal: as the suite's application it would be one that nobody bound to a group.
    settings = {**suite.settings(), "authentik_suite_client": "dezky-portal", "resync_seconds": 1}
    async with serving(service_environment("tenant", **settings), mongo, suite) as world:
        await world.sell()
        await world.create()
        await world.settled("Provisioned")
        await world.act("suspend", body=REASON)

        async def named() -> bool:
            found = await world.conditions()
            return found == {
                "authentik": ("pending", "StillAllowed"),
                "stalwart": ("ready", "Proven"),
                "ocis": ("ready", "Proven"),
            }

        await eventually(named)
        assert "sign in to the suite" in (await world.tenant())["provisioning"]["authentik"]["message"]


async def test_without_waiting_for_a_resync_changes_of_people_are_followed(
    service_environment: Any, mongo: Mongo, suite: Suite
) -> None:
    settings = {**suite.settings(), "resync_seconds": 3_600}
    async with serving(service_environment("tenant", **settings), mongo, suite) as world:
        await world.sell()
        await world.create()
        await world.settled("Provisioned")
        anna = await world.person("anna")

        async def members(wanted: set[str]) -> bool:
            return world.members() == wanted

        await eventually(lambda: members({anna.email}))
        await world.change(anna, tenants={})
        await eventually(lambda: members(set()))
