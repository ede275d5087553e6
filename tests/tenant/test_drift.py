"""Every kind of drift of docs/drift.md, made by hand in the stand-ins: found, repaired or, if accepted, listed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.tenant.people.models import Human
from services.tenant.provisioning.drift.models import KINDS
from shared.clock import SystemClock, rfc3339
from shared.testing import operator, partner_person, person
from tests.sandbox.ocis.process import MANAGER, VIEWER, drive_path, root
from tests.sandbox.stalwart.process import SUSPENDED
from tests.support.waiting import eventually
from tests.tenant.suite import CALLERS, SUITE, World, disable, is_disabled, suite, world

__all__ = ["suite", "world"]
PAGE = Path(__file__).parents[2] / "docs" / "drift.md"
ROW = re.compile(r"^\| (authentik|stalwart|ocis) \| `([a-z-]+)` \| .+ \| .+ \| (\w+)", re.MULTILINE)
DOCUMENTED = {(integration, kind): handling for integration, kind, handling in ROW.findall(PAGE.read_text())}
REASON = {"reason": "unpaid"}


@dataclass
class Scene:
    """A tenant with people, each of whom another kind of drift is done to."""

    world: World
    anna: Human
    bert: Human
    carl: Human
    dora: Human
    emil: Human
    gone: Human
    barred: Human
    other: str

    async def user(self, human: Human) -> str:
        row = await self.world.mongo.db["provisioning"].find_one({"slug": self.world.slug()})
        assert row is not None
        user: str = row["memos"]["ocis"]["users"][human.id]
        return user

    def box(self, human: Human) -> str:
        identity: str = self.world.mailboxes()[f"{human.email.split('@')[0]}@{self.world.domain}"]["id"]
        return identity

    def group(self, name: str = "") -> str:
        name = name or f"dezky-tenant-{self.world.slug()}"
        (group,) = self.world.suite.authentik.results("/core/groups/", name=name)
        pk: str = group["pk"]
        return pk

    # -- by hand

    def membership(self, verb: str, group: str, pk: int) -> str:
        assert self.world.suite.authentik.api("POST", f"/core/groups/{group}/{verb}_user/", {"pk": pk}).is_success
        return str(pk)

    def account(self, pk: int, **members: Any) -> str:
        assert self.world.suite.authentik.api("PATCH", f"/core/users/{pk}/", members).is_success
        return str(pk)

    def mailbox(self, human: Human, **patch: Any) -> str:
        identity = self.box(human)
        self.world.suite.stalwart.update("Account", identity, {k.replace("__", "/"): v for k, v in patch.items()})
        return identity

    def space(self, body: dict[str, Any], **headers: str) -> str:
        identity: str = self.world.space()["id"]
        answer = self.world.suite.ocis.send("PATCH", drive_path(identity), body, headers=headers)
        assert answer.is_success, answer.text
        return identity

    async def role(self, human: Human, role: str | None) -> str:
        user = await self.user(human)
        path = f"{root(self.world.space()['id'])}/permissions/u%3A{user}"
        body = None if role is None else {"roles": [role]}
        answer = self.world.suite.ocis.send("DELETE" if role is None else "PATCH", path, body)
        assert answer.is_success, answer.text
        return user

    def photograph(self) -> dict[str, Any]:
        """Return what the integrations hold, without the ids that change when something is made anew."""
        world = self.world
        (group,) = world.groups()
        suite = world.suite.authentik.results("/core/users/", groups_by_name=SUITE)
        boxes = world.mailboxes()
        shown = ("aliases", "quotas", "permissions", "description")
        space = world.space()
        people = (self.anna, self.bert, self.carl, self.dora, self.emil, self.gone, self.barred)
        return {
            "marks": (group["attributes"], space["description"]),
            "members": sorted(world.members()),
            "suite": sorted(
                u["username"] for u in suite if world.domain in u["username"] or world.mark in u["username"]
            ),
            "active": {h.email: world.account(h)["is_active"] for h in people},
            "probe": [probe["is_active"] for probe in world.probes()],
            "mail": {
                address: {name: re.sub(r"'domainId': '\w+'", "", str(box[name])) for name in shown}
                for address, box in boxes.items()
            },
            "space": (is_disabled(space), space["quota"]["total"]),
            "roles": {} if is_disabled(space) else world.in_space(),
            "users": sorted(world.ocis_users()),
        }


Hand = Callable[[Scene], Awaitable[str]]


def now(act: Callable[[Scene], str]) -> Hand:
    async def hand(scene: Scene) -> str:
        return act(scene)

    return hand


def delete_group(scene: Scene) -> str:
    assert scene.world.suite.authentik.api("DELETE", f"/core/groups/{scene.group()}/").status_code == 204
    return f"dezky-tenant-{scene.world.slug()}"


def unmark_group(scene: Scene) -> str:
    pk = scene.group()
    assert scene.world.suite.authentik.api("PATCH", f"/core/groups/{pk}/", {"attributes": {}}).is_success
    return pk


def delete_probe(scene: Scene) -> str:
    (probe,) = scene.world.probes()
    assert scene.world.suite.authentik.api("DELETE", f"/core/users/{probe['pk']}/").status_code == 204
    return scene.group()


def add_stranger(scene: Scene) -> str:
    stranger = scene.world.suite.authentik.new_user(f"stranger-{scene.world.mark}")
    return scene.membership("add", scene.group(), stranger["pk"])


def delete_mailboxes(scene: Scene) -> str:
    # What somebody left behind is not made anew.
    ids = [box["id"] for address, box in scene.world.mailboxes().items() if address != scene.gone.email]
    identity = scene.box(scene.anna)
    assert len(scene.world.suite.stalwart.call("x:Account/set", {"destroy": ids})["destroyed"]) == len(ids)
    return identity


def delete_domain(scene: Scene) -> str:
    # The one without mailboxes; aliases in it went with the accounts.
    ids = scene.world.suite.stalwart.call("x:Domain/query", {"filter": {"name": scene.other}})["ids"]
    assert scene.world.suite.stalwart.call("x:Domain/set", {"destroy": ids})["destroyed"] == ids
    return scene.other


def delete_space(scene: Scene) -> str:
    space = scene.world.space()
    disable(scene.world.suite, space)
    purged = scene.world.suite.ocis.send("DELETE", drive_path(space["id"]), headers={"Purge": "T"})
    assert purged.status_code == 204
    identity: str = space["id"]
    return identity


async def delete_user(scene: Scene) -> str:
    user = await scene.user(scene.emil)
    assert scene.world.suite.ocis.send("DELETE", f"/graph/v1.0/users/{user}").status_code == 204
    return user


async def change_user(scene: Scene) -> str:
    user = await scene.user(scene.carl)
    body = {"displayName": "Somebody else"}
    assert scene.world.suite.ocis.send("PATCH", f"/graph/v1.0/users/{user}", body).is_success
    return user


async def let_in(scene: Scene) -> str:
    user = await scene.user(scene.gone)
    assert scene.world.suite.ocis.invite(scene.world.space()["id"], "user", user).is_success
    return user


def disable_space(scene: Scene) -> str:
    space = scene.world.space()
    disable(scene.world.suite, space)
    identity: str = space["id"]
    return identity


SMALL: dict[tuple[str, str], Hand] = {
    ("authentik", "member-removed"): now(lambda s: s.membership("remove", s.group(), s.anna.account or 0)),
    ("authentik", "member-added"): now(add_stranger),
    ("authentik", "suite-member-removed"): now(lambda s: s.membership("remove", s.group(SUITE), s.bert.account or 0)),
    ("authentik", "account-enabled"): now(lambda s: s.account(s.barred.account or 0, is_active=True)),
    ("authentik", "probe-disabled"): now(lambda s: s.account(s.world.probes()[0]["pk"], is_active=False)),
    ("stalwart", "mailbox-quota"): now(lambda s: s.mailbox(s.anna, quotas__maxDiskQuota=1)),
    ("stalwart", "mailbox-name"): now(lambda s: s.mailbox(s.bert, description="Somebody else")),
    ("stalwart", "mailbox-stopped"): now(lambda s: s.mailbox(s.carl, permissions=SUSPENDED)),
    ("stalwart", "alias-removed"): now(lambda s: s.mailbox(s.dora, aliases__0=None)),
    ("stalwart", "mailbox-address"): now(lambda s: s.mailbox(s.emil, name="renamed")),
    ("ocis", "space-quota"): now(lambda s: s.space({"quota": {"total": 1}})),
    ("ocis", "space-unmarked"): now(lambda s: s.space({"description": ""})),
    ("ocis", "space-member-removed"): lambda s: s.role(s.anna, None),
    ("ocis", "space-role"): lambda s: s.role(s.bert, VIEWER),
    ("ocis", "space-member-added"): let_in,
    ("ocis", "user-changed"): change_user,
}
LARGE: dict[tuple[str, str], Hand] = {
    ("authentik", "group-unmarked"): now(unmark_group),
    ("authentik", "probe-deleted"): now(delete_probe),
    ("stalwart", "mailbox-deleted"): now(delete_mailboxes),
    ("stalwart", "domain-deleted"): now(delete_domain),
    ("ocis", "space-disabled"): now(disable_space),
}
WHOLE: dict[tuple[str, str], Hand] = {
    ("authentik", "group-deleted"): now(delete_group),
    ("ocis", "user-deleted"): delete_user,
    ("ocis", "space-deleted"): now(delete_space),
}
SHUT: dict[tuple[str, str], Hand] = {
    ("authentik", "suite-member-added"): now(lambda s: s.membership("add", s.group(SUITE), s.bert.account or 0)),
    ("stalwart", "mailbox-freed"): now(lambda s: s.mailbox(s.anna, permissions={"@type": "Inherit"})),
    ("ocis", "space-enabled"): now(lambda s: s.space({}, restore="true")),
}
LEFT: dict[tuple[str, str], Hand] = {
    ("authentik", "account-disabled"): now(lambda s: s.account(s.carl.account or 0, is_active=False)),
}


@pytest.mark.unit
def test_every_kind_is_documented_made_by_hand_here_and_handled_as_the_page_says() -> None:
    assert len(DOCUMENTED) > 20
    assert {*SMALL, *LARGE, *WHOLE, *SHUT, *LEFT} == DOCUMENTED.keys()
    assert {(name, kind): how for name, kinds in KINDS.items() for kind, how in kinds.items()} == DOCUMENTED


@pytest.fixture
async def scene(world: World) -> Scene:
    other = f"o{world.mark}.example"
    made = Scene(
        world,
        anna=await world.person("anna", tenants={world.slug(): "admin"}),
        bert=await world.person("bert"),
        carl=await world.person("carl"),
        dora=await world.person("dora", email=f"dora@{other}"),
        emil=await world.person("emil"),
        gone=await world.person("gone"),
        barred=await world.person("barred", status="inactive"),
        other=other,
    )
    await world.create()
    domains = [{"name": world.domain, "primary": True}, {"name": other}]
    path = f"/api/tenants/{world.slug()}"
    changed = await world.http.patch(path, json={"domains": domains}, headers=CALLERS.headers(operator()))
    assert changed.status_code == 200, changed.text
    await world.settled("Provisioned")
    await world.change(made.gone, tenants={})
    await eventually(lambda: left(world, made.gone))
    await world.act("reconcile")
    await world.settled("Provisioned")
    return made


async def left(world: World, human: Human) -> bool:
    return human.email not in world.in_space() and human.email not in world.members()


async def told(world: World) -> list[tuple[str, str, str]]:
    events = await world.events("tenant.drift_repaired.v1")
    return [(d["integration"], d["kind"], d["object"]) for event in events for d in event["drift"]]


async def repaired(scene: Scene, hands: dict[tuple[str, str], Hand], before: dict[str, Any]) -> None:
    known = len(await told(scene.world))
    made = {(*kind, await hand(scene)) for kind, hand in hands.items()}

    async def found() -> bool:
        missing = made - {*(await told(scene.world))[known:]}
        assert missing == set()
        now_seen = scene.photograph()
        assert now_seen == before
        return True

    await eventually(found, seconds=40)


async def test_drift_of_every_kind_is_found_at_the_next_resync_repaired_and_told(scene: Scene) -> None:
    assert await told(scene.world) == [], "what follows a change of ours is no drift"
    before = scene.photograph()
    for hands in (SMALL, LARGE, WHOLE):
        await repaired(scene, hands, before)
    await scene.world.act("suspend", body=REASON)
    await scene.world.settled("Proven")
    await repaired(scene, SHUT, scene.photograph())
    assert {(integration, kind) for integration, kind, _ in await told(scene.world)} == DOCUMENTED.keys() - LEFT.keys()
    everything = [d for event in await scene.world.events("tenant.drift_repaired.v1") for d in event["drift"]]
    people = (scene.anna, scene.bert, scene.carl, scene.dora, scene.emil, scene.gone, scene.barred)
    assert not any(h.email in d["object"] or h.id in d["object"] for d in everything for h in people)


async def acceptances(world: World) -> dict[tuple[str, str], dict[str, Any]]:
    reply = await world.http.get(f"/api/tenants/{world.slug()}/drift", headers=CALLERS.headers(operator()))
    assert reply.status_code == 200, reply.text
    return {(item["integration"], item["kind"]): item for item in reply.json()["items"]}


async def accept(world: World, drift: Sequence[str], name: str, **changes: Any) -> Any:
    body = {
        "integration": drift[0],
        "kind": drift[1],
        "object": name,
        "reason": "a migration",
        "expiresAt": rfc3339(SystemClock().now() + timedelta(days=30)),
        **changes,
    }
    path = f"/api/tenants/{world.slug()}/drift/acceptances"
    return await world.http.post(path, json=body, headers=CALLERS.headers(operator()))


async def test_what_was_accepted_is_listed_and_repaired_again_once_that_has_ended(scene: Scene) -> None:
    world = scene.world
    before = scene.photograph()
    acceptable = {kind: hand for kind, hand in SMALL.items() if DOCUMENTED[kind] == "acceptable"}
    # By hand first, to learn the objects; the first comparison may repair some of them before they are accepted.
    objects = {kind: await hand(scene) for kind, hand in acceptable.items()}
    for kind, name in objects.items():
        assert (await accept(world, kind, name)).status_code == 201
    twin = await accept(world, ("ocis", "space-quota"), objects["ocis", "space-quota"])
    assert (twin.status_code, twin.json()["code"]) == (409, "drift_accepted_already")

    async def all_met(since: str = "") -> bool:
        listed = await acceptances(world)
        assert {kind for kind, one in listed.items() if (one["lastSeenAt"] or "") > since} == acceptable.keys()
        return all(one["acceptedBy"] == operator().id and one["reason"] == "a migration" for one in listed.values())

    async def made_and_met() -> bool:
        # A comparison that had begun before still repairs.
        for hand in acceptable.values():
            with contextlib.suppress(AssertionError):  # it is so already
                await hand(scene)
        return await all_met()

    await eventually(made_and_met, pause=0.3)
    changed, since = scene.photograph(), rfc3339(SystemClock().now())
    await eventually(lambda: all_met(since))
    await world.settled("Provisioned")
    assert scene.photograph() == changed != before
    for one in (await acceptances(world)).values():
        path = f"/api/tenants/{world.slug()}/drift/acceptances/{one['id']}"
        assert (await world.http.delete(path, headers=CALLERS.headers(operator()))).status_code == 204

    async def right_again() -> bool:
        return scene.photograph() == before

    await eventually(right_again)
    ended = await world.events("tenant.drift_acceptance_ended.v1")
    assert {(e["drift"]["integration"], e["drift"]["kind"]) for e in ended} == acceptable.keys()
    assert len(await world.events("tenant.drift_accepted.v1")) == len(acceptable)


async def test_an_acceptance_that_expires_ends_by_itself_and_a_suspension_honours_none(scene: Scene) -> None:
    world, space = scene.world, scene.world.space()["id"]
    box = scene.box(scene.anna)
    soon = rfc3339(SystemClock().now() + timedelta(seconds=2.5))
    assert (await accept(world, ("ocis", "space-disabled"), space, expiresAt=soon)).status_code == 201
    assert (await accept(world, ("stalwart", "mailbox-quota"), box)).status_code == 201

    async def met() -> bool:
        # A comparison that had begun before still repairs.
        disable_space(scene)
        scene.mailbox(scene.anna, quotas__maxDiskQuota=1)
        return all(one["lastSeenAt"] for one in (await acceptances(world)).values())

    await eventually(met)
    assert is_disabled(world.space())

    async def over() -> bool:
        return not is_disabled(world.space()) and len(await acceptances(world)) == 1

    await eventually(over)
    (ended,) = await world.events("tenant.drift_acceptance_ended.v1")
    assert (ended["drift"]["kind"], ended["actor"]["type"]) == ("space-disabled", "system")
    await world.act("suspend", body=REASON)
    await world.settled("Proven")
    assert world.mailboxes()[scene.anna.email]["quotas"]["maxDiskQuota"] == 5 * 2**30


async def test_what_could_keep_somebody_in_cannot_be_accepted_and_only_operators_accept(world: World) -> None:
    await world.create()
    for kind, handling in DOCUMENTED.items():
        if handling != "acceptable":
            refused = await accept(world, kind, "x")
            assert (refused.status_code, refused.json()["code"]) == (422, "drift_not_acceptable"), kind
    bad: list[tuple[dict[str, Any], str]] = [
        ({"kind": "space-colour"}, "unknown_drift_kind"),
        ({"expiresAt": rfc3339(SystemClock().now() - timedelta(seconds=1))}, "bad_expiry"),
        ({"expiresAt": rfc3339(SystemClock().now() + timedelta(days=366))}, "bad_expiry"),
        ({"expiresAt": "tomorrow"}, "invalid"),
        ({"expiresAt": 5}, "invalid"),
        ({"reason": ""}, "invalid"),
        ({"by": "me"}, "invalid"),
    ]
    for changes, code in bad:
        refused = await accept(world, ("ocis", "space-quota"), "x", **changes)
        assert (refused.status_code, refused.json()["code"]) == (422, code), changes
    path = f"/api/tenants/{world.slug()}/drift"
    for caller in (partner_person("nordic"), person(tenants={world.slug(): "admin"})):
        reply = await world.http.get(path, headers=CALLERS.headers(caller))
        assert (reply.status_code, reply.json()["code"]) == (403, "operator_token_required")
    unknown = await world.http.delete(f"{path}/acceptances/nothing", headers=CALLERS.headers(operator()))
    assert unknown.status_code == 404
    assert await acceptances(world) == {}
    assert await world.events("tenant.drift_accepted.v1") == []


async def test_an_account_that_was_locked_by_hand_is_listed_and_stays_locked(scene: Scene) -> None:
    world = scene.world
    (name,) = [await hand(scene) for hand in LEFT.values()]

    async def listed() -> bool:
        reply = await world.http.get(f"/api/tenants/{world.slug()}/drift", headers=CALLERS.headers(operator()))
        return bool(reply.json()["left"] == [{"integration": "authentik", "kind": "account-disabled", "object": name}])

    await eventually(listed)
    await world.settled("Provisioned")
    assert not world.account(scene.carl)["is_active"]
    assert await told(world) == []
    assert scene.photograph()["roles"][scene.anna.email] == MANAGER
