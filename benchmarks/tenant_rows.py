"""Tenants by the million, the same ones each time, as the tenant service stores them.

Of a thousand tenants some 930 are active and five are being deleted; ten have no partner, and one partner in the
hundred owns a tenth of the others. Names are made of words as companies use them: three of ten end in "Ltd", one of a
thousand holds the rarest word. The first thousand of a million are the thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from random import Random
from typing import Any

from pymongo import AsyncMongoClient, IndexModel, WriteConcern

from services.tenant.repository import INDEXES
from shared.mongo import Document
from shared.search import prefixes_of, words_of

BIG_PARTNER, SMALL_PARTNER = "nordic", "fjord"
RARE_WORD = "zeppelin"
_BEGAN = datetime(2026, 1, 1, 8, tzinfo=UTC)
_BATCH = 2_000
_FIRST_WORDS = """
    alpine amber arctic atlas aurora baltic bright cedar central classic coastal copper crystal delta eastern
    emerald falcon first global golden granite green harbour horizon iron island jade keystone lunar maple meridian
    modern mountain national noble nordlys northern ocean olive pacific pioneer polar prime quality rapid royal
    sapphire scandic silver solar southern sterling summit swift united urban valley velvet western
"""
_SECOND_WORDS = """
    accounting advisors analytics architects audio automotive bakery biotech brewery builders capital ceramics
    clinic consulting couriers dental design digital energy engineering events farms fashion films fitness foods
    forestry furniture games glass hotels insurance interiors labs legal lighting logistics marine media metals
    mobility optics packaging partners pharma plumbing print properties publishing recruiting robotics security
    services shipping software solutions sports studio systems textiles timber tools toys trading travel ventures
    water wines
"""
_FAR_AHEAD = datetime(2999, 1, 1, tzinfo=UTC)
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split()
_FORMS = ("Ltd", "GmbH", "AS", "Oy", "AB", "")
_FORM_WEIGHTS = (30, 20, 15, 10, 10, 15)
_STATUSES = ("active", "suspended", "pending", "deleted", "deleting")
_STATUS_WEIGHTS = tuple(accumulate((930, 30, 20, 15, 5)))
_PLANS = ("business", "starter", "team", "enterprise")
_PLAN_WEIGHTS = tuple(accumulate((50, 30, 15, 5)))


@dataclass(frozen=True, slots=True)
class _Partners:
    names: tuple[str | None, ...]
    weights: tuple[int, ...]


def _partners() -> _Partners:
    many = [f"partner-{number:03}" for number in range(98)]
    shares = [(None, 100), (BIG_PARTNER, 1_000), (SMALL_PARTNER, 1), *((name, 8_899 // 98) for name in many)]
    return _Partners(tuple(name for name, _ in shares), tuple(accumulate(share for _, share in shares)))


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield the first ``count`` tenants as documents."""
    random, partners = Random(20261128), _partners()
    for number in range(count):
        first = RARE_WORD if number % 1_000 == 7 else random.choice(_FIRST)
        second, form = random.choice(_SECOND), random.choices(_FORMS, _FORM_WEIGHTS)[0]
        partner = random.choices(partners.names, cum_weights=partners.weights)[0]
        status = random.choices(_STATUSES, cum_weights=_STATUS_WEIGHTS)[0]
        plan = random.choices(_PLANS, cum_weights=_PLAN_WEIGHTS)[0]
        name = f"{first.title()} {second.title()} {form}".strip()
        yield _row(number, name, f"{first}-{second}-{number}", partner, status, plan)


def _row(number: int, name: str, slug: str, partner: str | None, status: str, plan: str) -> dict[str, Any]:
    made = _BEGAN + timedelta(seconds=number)
    row: dict[str, Any] = {
        "_id": f"019b7a00-0000-7000-8000-{number:012x}",
        "slug": slug,
        "name": name,
        "plan": plan,
        "cycle": "month",
        "currency": "EUR",
        "seats": 5 + number % 200,
        "partner": partner,
        "status": status,
        "created_at": made,
        "updated_at": made,
        "version": 1,
        "suspended_reason": "unpaid" if status == "suspended" else None,
        "detached_until": None if partner else made + timedelta(days=30),
        "domains": [{"name": f"{slug}.example", "primary": True}],
        "billing": {"contact": f"billing@{slug}.example", "company": name, "address": "Havnegade 1, Aarhus"},
        "ownership": [{"partner": partner or BIG_PARTNER, "since": made, "until": None if partner else made}],
        "deletion": None,
        "words": words_of(name, slug),
        "prefixes": prefixes_of(name, slug),
    }
    if status in {"deleting", "deleted"}:
        row["deletion"] = _deletion(made, erased=status == "deleted")
    if status == "deleted":
        del row["domains"]
        row["billing"] = dict.fromkeys(("contact", "company", "address"))
    return row


def _deletion(made: datetime, *, erased: bool) -> dict[str, Any]:
    # A deletion whose time is over would be carried out by the service, and the data would change while it is read.
    after = made + timedelta(days=30) if erased else _FAR_AHEAD
    return {
        "requested_at": made,
        "reason": "the contract ended",
        "erase_after": after,
        "restores_to": "active",
        "erasing_since": after if erased else None,
        "erased_at": after if erased else None,
    }


async def load(uri: str, database: str, count: int) -> None:
    """Store the first ``count`` tenants, then make the indexes of the tenant service: sorted once, not key by key."""
    # Not the service's own client: it gives a command ten seconds, and the indexes of a million rows take longer.
    client: AsyncMongoClient[Document] = AsyncMongoClient(uri, tz_aware=True)
    async with client:
        tenants = client[database].get_collection("tenants", write_concern=WriteConcern(1))
        storing: Awaitable[Any] = asyncio.sleep(0)
        for batch in _batches(count):
            await storing
            storing = asyncio.ensure_future(tenants.insert_many(batch, ordered=False))
            await asyncio.sleep(0)  # on its way, while the next batch is made
        await storing
        for index in INDEXES["tenants"]:
            await tenants.create_indexes([IndexModel(list(index.keys), **index.options)])
        await client.admin.command("fsync")


def _batches(count: int) -> Iterator[list[dict[str, Any]]]:
    made = rows(count)
    while batch := list(islice(made, _BATCH)):
        yield batch
