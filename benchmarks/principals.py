"""``POST /internal/principals``: how fast the directory tells the gateway who the bearer of a verified token is.

Ten thousand people are known; a thousand of them are asked for in turn, each was seen a moment ago. There is no peer:
the gateway's cache stands before this, and what a miss costs is what is shown.
"""

from __future__ import annotations

import orjson

from benchmarks.load import Tally, ask, fire, post
from benchmarks.processes import Pinned
from benchmarks.report import Bound, Figure, side
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting, alternate
from benchmarks.tenant_sides import authorizations, ours
from services.tenant.people.models import Human, Identity
from services.tenant.people.repository import INDEXES, PeopleRepository
from shared.auth import ServicePrincipal
from shared.clock import SystemClock
from shared.contracts.user import PartnerRoleState
from shared.ids import new_id
from shared.mongo import Mongo, Transaction

PATH = "/internal/principals"
ASKED_FOR = 1_000
_BATCH = 500


async def measure(setting: Setting) -> Figure:
    """Return requests per second and latencies."""
    figure = Figure("principals", "Tenant service: who is the bearer (POST /internal/principals)")
    people = [_person(number) for number in range(setting.sized(10_000, 1_000))]
    async with both(setting.folder) as servers:
        await _fill(servers, people)
        async with ours(setting, servers) as we:
            await _check(we, people[0])
            tally = await _loaded(setting, we, people[:ASKED_FOR])
    found = side("", tally)
    if found.faults:
        figure.unreached.append(f"an answer 2xx to each question: {found.faults} were none")
    figure.bounds += [
        Bound("questions answered, 32 connections", round(found.per_second), "/s"),
        Bound("per second of CPU", round(found.per_cpu_second or 0), "/s"),
        Bound("p50", round(found.p50_ms or 0, 2), "ms"),
        Bound("p99", round(found.p99_ms or 0, 2), "ms"),
    ]
    figure.notes.append(f"{len(people):,} people known; the service used {found.cores or 0:.2f} of its core.")
    return figure


async def _loaded(setting: Setting, we: Pinned, people: list[Human]) -> list[Tally]:
    async def run(seconds: float) -> Tally:
        (field,) = authorizations(1, _GATEWAY)
        return await fire(
            we.port, [_question(human, field) for human in people], seconds=seconds, cpu_seconds=we.cpu_seconds
        )

    await run(setting.warm_up)
    (tallies,) = await alternate(setting.rounds, lambda: run(setting.seconds))
    return tallies


async def _check(we: Pinned, human: Human) -> None:
    status, body = await ask(we.port, _question(human, *authorizations(1, _GATEWAY)))
    if status != 200 or orjson.loads(body)["id"] != human.id:
        raise AssertionError(f"the directory does not know somebody whom it should: {status} {body!r}")


_GATEWAY = ServicePrincipal(name="gateway")


def _question(human: Human, field: str) -> bytes:
    asked = {
        "identityProvider": human.identities[0].identity_provider,
        "subject": human.identities[0].subject,
        "email": human.email,
        "name": human.name,
        "groups": ["dezky-partner-staff"],
        "surface": "portal",
        "clientIp": "203.0.113.7",
    }
    return post(PATH, orjson.dumps(asked), field)


def _person(number: int) -> Human:
    now = SystemClock().now()
    return Human(
        id=new_id(),
        email=f"person-{number}@nordic.example",
        name=f"Person {number}",
        identities=(Identity("authentik", f"{number:064x}"),),
        created_at=now,
        last_seen=now,
        partner=PartnerRoleState(slug="nordic", role="staff"),
        tenants={f"tenant-{number}": "admin"},
    )


async def _fill(servers: Servers, people: list[Human]) -> None:
    mongo = Mongo(servers.mongo_uri, "tenant", "benchmarks")
    await mongo.ensure_indexes(INDEXES)
    repository = PeopleRepository(mongo)
    for start in range(0, len(people), _BATCH):

        async def insert(tx: Transaction, batch: list[Human] = people[start : start + _BATCH]) -> None:
            for human in batch:
                await repository.insert(human, tx)

        await mongo.transactions.run(insert)
    await mongo.close()
