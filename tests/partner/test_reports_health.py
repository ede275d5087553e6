"""The health of customers: docs/partner-reports.md, computed here from the same facts in another way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.clock import rfc3339
from shared.mongo import Mongo
from shared.testing import ManualClock, partner_person
from tests.partner.conftest import serving
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create
from tests.partner.hearing import Ear, Said, provisioning, subscription, tenant, usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY, HOUR, MS = timedelta(days=1), timedelta(hours=1), timedelta(milliseconds=1)
PATH = "/api/partners/nordic/reports/health"


@pytest.fixture
async def client(service_environment: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service_environment, ManualClock(NOW)) as http:
        await create(http, NORDIC, FJORD)
        yield http


@pytest.fixture
def ear(mongo: Mongo, client: httpx.AsyncClient) -> Ear:
    return Ear(mongo)


async def report(client: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"{PATH}?limit=500&{query}", headers=by_operator())
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def well(slug: str, **changes: Any) -> list[Said]:
    """Events of a customer that hits no rule, with changes that make it hit some."""
    made = NOW - 90 * DAY
    at = changes.get("heard", NOW - HOUR)
    told = {"createdAt": rfc3339(made), **changes.get("tenant", {})}
    return [
        tenant(slug, at, **told),
        usage(slug, at, *changes.get("usage", (8, "2026-11-21"))),
        provisioning(slug, at, changes.get("conditions", {"ocis": ("ready", made)})),
        subscription(slug, at, **changes.get("subscription", {})),
    ]


CASES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "well": ({}, "healthy", []),
    "owes a week to the millisecond": (
        {"subscription": {"paymentFailedAt": rfc3339(NOW - 7 * DAY)}},
        "healthy",
        [],
    ),
    "owes more than a week": (
        {"subscription": {"paymentFailedAt": rfc3339(NOW - 7 * DAY - MS)}},
        "atRisk",
        ["payment_failed"],
    ),
    "owed until it was canceled": (
        {"subscription": {"paymentFailedAt": rfc3339(NOW - 70 * DAY), "status": "canceled"}},
        "healthy",
        [],
    ),
    "suspended": ({"tenant": {"status": "suspended"}}, "atRisk", ["suspended"]),
    # After 22 October come 30 whole days: 23 October to 21 November.
    "last seen 31 days ago": ({"usage": (8, "2026-10-22")}, "atRisk", ["no_sign_in"]),
    "last seen 30 days ago": ({"usage": (8, "2026-10-23")}, "healthy", []),
    "never seen in a month": ({"usage": (8, None)}, "atRisk", ["no_sign_in"]),
    "half the seats used": ({"usage": (5, "2026-11-21")}, "healthy", []),
    "under half": ({"usage": (4, "2026-11-21")}, "watch", ["seats_unused"]),
    "new and empty": (
        {"tenant": {"createdAt": rfc3339(NOW - 30 * DAY)}, "usage": (0, None)},
        "healthy",
        [],
    ),
    "not ready for a day to the millisecond": (
        {"conditions": {"ocis": ("pending", NOW - 24 * HOUR), "stalwart": ("ready", NOW - 50 * DAY)}},
        "healthy",
        [],
    ),
    "not ready for longer": (
        {"conditions": {"ocis": ("failed", NOW - 24 * HOUR - MS), "stalwart": ("pending", NOW - HOUR)}},
        "watch",
        ["not_ready"],
    ),
    "everything": (
        {
            "tenant": {"status": "suspended"},
            "usage": (0, None),
            "conditions": {"ocis": ("failed", NOW - 9 * DAY)},
            "subscription": {"paymentFailedAt": rfc3339(NOW - 8 * DAY), "status": "paused"},
        },
        "atRisk",
        ["payment_failed", "suspended", "no_sign_in", "seats_unused", "not_ready"],
    ),
}


async def test_each_rule_is_hit_from_its_moment_on_and_not_before(client: httpx.AsyncClient, ear: Ear) -> None:
    names = {f"c-{number:02}": name for number, name in enumerate(CASES)}
    for slug, name in names.items():
        await ear.hear(*well(slug, **CASES[name][0]))
    shown = await report(client)
    found = {names[item["slug"]]: (item["level"], item["reasons"]) for item in shown["items"]}
    assert found == {name: (level, reasons) for name, (_, level, reasons) in CASES.items()}
    assert shown["asOf"] == rfc3339(NOW - HOUR)


async def test_a_cut_of_a_fifth_is_watched_for_thirty_days_while_it_lasts(client: httpx.AsyncClient, ear: Ear) -> None:
    def cut(slug: str, before: int, after: int, ago: timedelta, version: int = 2) -> Said:
        made = rfc3339(NOW - 90 * DAY)
        return tenant(slug, NOW - ago, seats_before=before, seats=after, version=version, createdAt=made)

    for slug in ("a-fifth", "less", "long-ago", "given-back", "in-two-steps", "late"):
        await ear.hear(*well(slug))
    await ear.hear(cut("a-fifth", 10, 8, DAY), cut("less", 101, 81, DAY), cut("long-ago", 10, 5, 30 * DAY))
    await ear.hear(cut("given-back", 10, 5, 2 * DAY), cut("given-back", 5, 9, DAY, 3))
    # Neither step is a fifth of what was before it, together they are.
    await ear.hear(cut("in-two-steps", 100, 85, 2 * DAY), cut("in-two-steps", 85, 70, DAY, 3))
    # The change of a later version is heard first.
    await ear.hear(tenant("late", NOW - HOUR, version=3, seats=8, createdAt=rfc3339(NOW - 90 * DAY)))
    await ear.hear(cut("late", 10, 8, DAY))
    found = {item["slug"]: item["reasons"] for item in (await report(client))["items"]}
    # Some of these use fewer than half of their new seats; only the cut is looked at here.
    cuts = {slug for slug, reasons in found.items() if "seats_cut" in reasons}
    assert cuts == {"a-fifth", "in-two-steps", "late"}


@dataclass
class Facts:
    """What is true of a customer, and the rules applied to it as the document words them."""

    slug: str
    partner: str
    status: str
    seats: int
    created: datetime
    used: int
    seen: datetime | None
    owes: datetime | None
    live: bool
    unready: list[datetime]
    cuts: list[tuple[datetime, int]] = field(default_factory=list)

    def reasons(self) -> list[str]:
        if self.seen is None:
            quiet = NOW - self.created > 30 * DAY
        else:
            midnight_after = datetime(self.seen.year, self.seen.month, self.seen.day, tzinfo=UTC) + DAY
            quiet = NOW - midnight_after > 30 * DAY
        rules = {
            "payment_failed": self.live and self.owes is not None and NOW - self.owes > 7 * DAY,
            "suspended": self.status == "suspended",
            "no_sign_in": quiet,
            "seats_unused": NOW - self.created > 30 * DAY and self.used < self.seats / 2,
            "not_ready": any(NOW - since > DAY for since in self.unready),
            "seats_cut": any(NOW - at < 30 * DAY and self.seats <= before * 0.8 for at, before in self.cuts),
        }
        return [reason for reason, hit in rules.items() if hit]

    def level(self) -> str:
        found = set(self.reasons())
        if found & {"payment_failed", "suspended", "no_sign_in"}:
            return "atRisk"
        return "watch" if found else "healthy"

    def events(self) -> list[Said]:
        """Each change of seats is a version of its own; the last one is what is true now."""
        made = rfc3339(self.created)
        about = {"partner": self.partner, "status": self.status, "createdAt": made}
        said = [tenant(self.slug, self.created, **{**about, "seats": 1_000, "status": "active"})]
        for version, (at, before) in enumerate(self.cuts, start=2):
            said.append(tenant(self.slug, at, seats_before=before, **about, seats=before - 1, version=version))
        said.append(tenant(self.slug, NOW - MS, **about, seats=self.seats, version=9))
        said.append(usage(self.slug, NOW - HOUR, 0, None, 1))
        said.append(usage(self.slug, NOW - HOUR, self.used, self.seen and self.seen.date().isoformat(), 2))
        conditions = {f"i{number}": ("failed", since) for number, since in enumerate(self.unready)}
        said.append(provisioning(self.slug, NOW - HOUR, {**conditions, "ok": ("ready", self.created)}, 3))
        owed = self.owes and rfc3339(self.owes)
        status = "past_due" if self.live else "canceled"
        said.append(subscription(self.slug, NOW - HOUR, status=status, paymentFailedAt=owed, version=4))
        return said


def _random_facts(chance: random.Random, number: int) -> Facts:
    def ago(*days: float) -> datetime:
        return NOW - chance.choice(days) * DAY + chance.choice([-1, 0, 1]) * MS

    seats = chance.randint(1, 40)
    return Facts(
        slug=f"c-{number:03}",
        partner=chance.choice(["nordic"] * 4 + ["fjord"]),
        status=chance.choice(["active"] * 8 + ["suspended", "pending", "deleting", "deleted"]),
        seats=seats,
        created=ago(1, 29, 30, 31, 400),
        used=chance.choice([0, seats // 2, (seats + 1) // 2, seats]),
        seen=chance.choice([None, ago(0.1), ago(29), ago(30), ago(30.5), ago(31), ago(32)]),
        owes=chance.choice([None, None, ago(1), ago(7), ago(8)]),
        live=chance.random() < 0.8,
        unready=chance.choice([[], [], [ago(0.5)], [ago(1)], [ago(2), ago(0.1)]]),
        cuts=chance.choice([[], [], [(ago(5), seats + 1)], [(ago(29, 30, 31), seats * 2)], [(ago(3), seats * 5 // 4)]]),
    )


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.torture)])
async def test_random_customers_heard_of_in_any_order_stand_where_the_document_puts_them(
    client: httpx.AsyncClient, ear: Ear, seed: int
) -> None:
    chance = random.Random(seed)
    facts = [_random_facts(chance, number) for number in range(120)]
    said = [event for fact in facts for event in fact.events()]
    said += chance.sample(said, 100)
    chance.shuffle(said)
    for start in range(0, len(said), 50):
        await ear.hear(*said[start : start + 50])
    own = [fact for fact in facts if fact.partner == "nordic" and fact.status not in {"deleting", "deleted"}]
    shown = await report(client)
    assert [(i["slug"], i["level"], i["reasons"]) for i in shown["items"]] == [
        (fact.slug, fact.level(), fact.reasons()) for fact in own
    ]
    levels = [fact.level() for fact in own]
    assert shown["counts"] == {level: levels.count(level) for level in ("atRisk", "watch", "healthy")}
    for level in ("atRisk", "watch", "healthy"):
        narrowed = [item["slug"] for item in (await report(client, f"level={level}"))["items"]]
        assert narrowed == [fact.slug for fact in own if fact.level() == level]
    assert min(shown["counts"].values()) > 0


async def test_what_both_consumers_hear_at_once_is_all_in_the_standing(
    client: httpx.AsyncClient, ear: Ear, mongo: Mongo
) -> None:
    slugs = [f"c-{number:02}" for number in range(15)]
    await asyncio.gather(*(ear.hear(said) for slug in slugs for said in well(slug)))
    async for row in mongo.db["standings"].find():
        assert all(row[part] for part in ("tenant", "usage", "provisioning", "subscription")), row
    assert (await report(client))["counts"] == {"atRisk": 0, "watch": 0, "healthy": len(slugs)}


async def test_a_page_names_the_next_and_a_cursor_belongs_to_its_level_and_partner(
    client: httpx.AsyncClient, ear: Ear
) -> None:
    for number in range(5):
        await ear.hear(*well(f"c-{number}"))
    staff = CALLERS.headers(partner_person("nordic"))
    first = await client.get(f"{PATH}?limit=2", headers=staff)
    second = await client.get(f"{PATH}?limit=2&cursor={first.json()['next']}", headers=staff)
    assert [i["slug"] for i in first.json()["items"] + second.json()["items"]] == ["c-0", "c-1", "c-2", "c-3"]
    assert first.headers["link"].endswith('rel="next"')
    for path in (f"{PATH}?level=watch", "/api/partners/fjord/reports/health?limit=2"):
        refused = await client.get(f"{path}&cursor={first.json()['next']}", headers=by_operator())
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "cursor")


async def test_before_the_first_event_there_is_nothing_and_no_moment(client: httpx.AsyncClient) -> None:
    assert await report(client) == {
        "asOf": None,
        "counts": {"atRisk": 0, "watch": 0, "healthy": 0},
        "items": [],
        "next": None,
    }
