"""What the database looks at for a list: its own counts of keys and rows, for every combination of filters and scopes.

Three thousand tenants are stored as the service stores them. What a list must hold is worked out here, from the rows;
what it cost is what MongoDB's profiler recorded of the very queries that the repository sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
from pymongo import MongoClient

from benchmarks.tenant_rows import BIG_PARTNER, RARE_WORD, rows
from infrastructure.local.servers.mongod import MongodServer
from services.tenant.lists import LIST_INDEXES
from services.tenant.repository import INDEXES, TenantFilter, TenantRepository
from services.tenant.scope import EVERYTHING, Scope
from shared.mongo import Mongo
from shared.paging import encode_cursor
from shared.search import prefixes_of, words_of

TENANTS = list(rows(3_000))
BY_SLUG = sorted(TENANTS, key=lambda row: row["slug"])
WORDS = {row["slug"]: re.split(r"[^a-z0-9]+", f"{row['name']} {row['slug']}".lower()) for row in TENANTS}
MIDDLE = BY_SLUG[len(BY_SLUG) // 2]["slug"]
LIMIT = 20
STATUSES = 5
# Every scan that is merged reads a key before the first row, and one to see that it is over.
BESIDES = 2 * STATUSES + 1
DATABASE = "list-plans"

# Some of them belong to the big partner, too.
OWN = frozenset(
    row["slug"] for row in (*BY_SLUG[::500], *[row for row in BY_SLUG if row["partner"] == BIG_PARTNER][::50])
)
SCOPES = {
    "everything": EVERYTHING,
    "a big partner": Scope(partner=BIG_PARTNER),
    "a partner without tenants": Scope(partner="nobody"),
    "a person's own": Scope(tenants=OWN),
    "a partner's and own": Scope(partner=BIG_PARTNER, tenants=OWN),
    "nothing": Scope(),
}
FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "active"},
    {"status": "deleting"},
    {"plan": "enterprise"},
    {"status": "suspended", "plan": "team"},
    {"partner": BIG_PARTNER},
    {"partner": BIG_PARTNER, "status": "suspended"},
    {"partner": BIG_PARTNER, "plan": "team"},
    {"partner": BIG_PARTNER, "status": "active", "plan": "business"},
    {"detached": True},
    {"detached": True, "status": "active"},
    {"detached": False},
]
# From the beginning of most names down to the word of one name in a thousand, and what nobody is called.
BEGINNINGS = ("s", "sol", "solution", "solutions", "LTD", "12", "zep", RARE_WORD, "acme", "-")
# Together rarer than each, and not together at all.
SEVERAL = (f"ltd {RARE_WORD}", "solar sol", "nordlys s gmbh", "solar solutions nobody")


@dataclass(frozen=True)
class Seen:
    """What MongoDB recorded of the queries for one page."""

    keys: int
    rows: int
    returned: int
    sorted_in_memory: bool


@pytest.fixture(scope="module")
def stored(mongod: MongodServer) -> Iterator[str]:
    with MongoClient(mongod.uri) as root:
        collection = root[DATABASE]["tenants"]
        collection.insert_many(TENANTS)
        for index in INDEXES["tenants"]:
            collection.create_index(list(index.keys), **index.options)
        yield mongod.uri
        root.drop_database(DATABASE)


@pytest.fixture
async def opened(stored: str) -> Any:
    mongo = Mongo(stored, DATABASE, "tests")
    await mongo.db["system.profile"].drop()
    await mongo.db.command("profile", 2)
    yield mongo
    await mongo.db.command("profile", 0)
    await mongo.close()


def _is_in(scope: Scope, row: dict[str, Any]) -> bool:
    return scope.everything or row["slug"] in scope.tenants or (row["partner"] or "") == scope.partner


def _fits(only: dict[str, Any], row: dict[str, Any]) -> bool:
    wanted = dict(only)
    beginnings, detached = wanted.pop("q", "").lower(), wanted.pop("detached", None)
    if detached not in (None, row["partner"] is None) or not wanted.items() <= row.items():
        return False
    if beginnings == "-":
        return False
    words = WORDS[row["slug"]]
    return all(any(word.startswith(beginning) for word in words) for beginning in beginnings.split())


def _expected(scope: Scope, only: dict[str, Any], after: str) -> list[str]:
    fitting = (row["slug"] for row in BY_SLUG if row["slug"] > after and _is_in(scope, row) and _fits(only, row))
    return list(islice(fitting, LIMIT + 1))


async def _listed(mongo: Mongo, scope: Scope, only: dict[str, Any], after: str) -> Seen:
    """Read a page, check what it holds, and return what it cost."""
    given = TenantFilter(**only)
    cursor = encode_cursor([after], given.as_query()) if after else None
    profile = mongo.db["system.profile"]
    before = await profile.count_documents({"ns": f"{DATABASE}.tenants"})
    page = await TenantRepository(mongo).page(scope=scope, only=given, limit=LIMIT, cursor=cursor)
    expected = _expected(scope, only, after)
    assert [tenant.slug for tenant in page.items] == expected[:LIMIT], (scope, only)
    assert (page.next is None) == (len(expected) <= LIMIT)
    entries = await profile.find({"ns": f"{DATABASE}.tenants"}).sort("$natural", 1).skip(before).to_list()
    assert entries or not expected
    return Seen(
        keys=sum(entry["keysExamined"] for entry in entries),
        rows=sum(entry["docsExamined"] for entry in entries),
        returned=sum(entry.get("nreturned", 0) for entry in entries),
        sorted_in_memory=any(entry.get("hasSortStage", False) for entry in entries),
    )


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
async def test_a_filtered_page_costs_the_rows_that_it_shows(opened: Mongo, scope: Scope) -> None:
    for only in FILTERS:
        for after in ("", MIDDLE):
            seen = await _listed(opened, scope, only, after)
            assert not seen.sorted_in_memory
            # What a person's list names is looked for one by one; among all, one tenant of a hundred has no partner.
            looked_up = 2 * len(scope.tenants) if not scope.everything else LIMIT // 4
            assert seen.keys <= seen.returned + BESIDES + looked_up, (only, after, seen)
            assert seen.rows <= seen.returned + looked_up, (only, after, seen)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
async def test_a_search_for_a_beginning_costs_the_rows_that_it_shows_however_frequent(
    opened: Mongo, scope: Scope
) -> None:
    for q in BEGINNINGS:
        for only in ({}, {"status": "suspended"}, {"partner": BIG_PARTNER}, {"detached": True}):
            for after in ("", MIDDLE):
                seen = await _listed(opened, scope, {"q": q, **only}, after)
                assert not seen.sorted_in_memory
                looked_up = 2 * len(scope.tenants)
                assert seen.keys <= seen.returned + BESIDES + looked_up, (q, only, after, seen)
                assert seen.rows <= seen.returned + looked_up, (q, only, after, seen)


@pytest.mark.parametrize("only", [{}, {"plan": "team"}, {"partner": BIG_PARTNER, "plan": "enterprise"}])
@pytest.mark.parametrize("q", SEVERAL)
async def test_a_search_for_several_words_or_with_a_plan_costs_little_more_than_its_rarest_part(
    opened: Mongo, q: str, only: dict[str, Any]
) -> None:
    partner = {name: only[name] for name in only if name == "partner"}
    parts: list[dict[str, Any]] = [{"q": word, **partner} for word in q.split()] + ([only] if "plan" in only else [])
    rarest = min(sum(_fits(part, row) for row in TENANTS) for part in parts)
    seen = await _listed(opened, EVERYTHING, {"q": q, **only}, "")
    assert not seen.sorted_in_memory
    # Each part is walked for a while, and then for ten times as long; the rarest one ends first.
    assert seen.rows <= len(parts) * max(4 * (LIMIT + 1), 11 * rarest)


async def test_what_is_frequent_apart_and_together_is_found_in_the_first_steps(opened: Mongo) -> None:
    for only in ({"q": "s ltd"}, {"q": "s", "plan": "business"}, {"q": "ltd", "plan": "starter"}):
        seen = await _listed(opened, EVERYTHING, only, MIDDLE)
        assert seen.rows <= 2 * 4 * (LIMIT + 1), (only, seen)


async def test_pages_follow_each_other_without_gap_or_twin_across_merged_scans(opened: Mongo) -> None:
    scope = SCOPES["a partner's and own"]
    expected = [row["slug"] for row in BY_SLUG if _is_in(scope, row) and _fits({"q": "s"}, row)]
    found: list[str] = []
    cursor = None
    while True:
        page = await TenantRepository(opened).page(scope=scope, only=TenantFilter(q="s"), limit=LIMIT, cursor=cursor)
        found += [tenant.slug for tenant in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == expected
    assert len(found) > LIMIT


async def test_the_rows_are_those_that_the_service_writes(mongo: Mongo, opened: Mongo) -> None:
    repository, copy = TenantRepository(opened), TenantRepository(mongo)
    for row in TENANTS[:80]:
        tenant = await repository.find(scope=EVERYTHING, slug=row["slug"])
        assert tenant is not None
        await mongo.transactions.run(lambda tx, tenant=tenant: copy.insert(tenant, tx))
        stored = await mongo.db["tenants"].find_one({"_id": row["_id"]})
        assert stored is not None
        assert {name: stored[name] for name in row} == row


async def test_tenants_from_before_are_found_by_beginnings_once_they_are_completed(mongo: Mongo) -> None:
    named = {
        **TENANTS[0],
        "name": "Ærø Smørrebrød ÆØÅ-Å",
        "words": words_of("Ærø Smørrebrød ÆØÅ-Å", TENANTS[0]["slug"]),
    }
    old = [{name: value for name, value in row.items() if name != "prefixes"} for row in (named, *TENANTS[1:50])]
    await mongo.db["tenants"].insert_many(old)
    await mongo.ensure_indexes({"tenants": INDEXES["tenants"]})
    await TenantRepository(mongo).complete()
    stored = {row["_id"]: sorted(row["prefixes"]) async for row in mongo.db["tenants"].find()}
    assert stored == {row["_id"]: prefixes_of(row["name"], row["slug"]) for row in old}
    page = await TenantRepository(mongo).page(scope=EVERYTHING, only=TenantFilter(q="smørrebrø"), limit=5)
    assert [tenant.slug for tenant in page.items] == [named["slug"]]


def test_every_list_index_ends_in_the_slug() -> None:
    assert all(index.keys[-1] == ("slug", 1) for index in LIST_INDEXES)
