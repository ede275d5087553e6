"""Provisioning that is interrupted: by lost replies, refusals, delays, kills, and other replicas."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.tenant.models import Tenant
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.deletions import Departures
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.ledger import Ledger
from services.tenant.provisioning.models import Desired, Finding
from services.tenant.provisioning.reconciler import LEASE, Reconciler
from services.tenant.provisioning.remote import Memo, RemoteAway
from services.tenant.provisioning.repository import INDEXES, ProvisioningRepository
from services.tenant.provisioning.worker import ProvisioningWorker
from services.tenant.repository import TenantRepository
from shared.clock import SystemClock
from shared.leases import Lease, LeaseLost
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox
from shared.tasks import end_tasks
from tests.support.waiting import eventually
from tests.tenant.people import process, ready
from tests.tenant.suite import Suite, World, deletions_of, is_disabled, suite, world

__all__ = ["suite", "world"]
REASON = {"reason": "unpaid"}
CREATIONS = [
    ("authentik", "/api/v3/core/groups/"),
    ("authentik", "/api/v3/core/users/"),
    ("authentik", "/api/v3/core/tokens/"),
    ("stalwart", "/jmap"),
    ("ocis", "/graph/v1.0/drives"),
    ("ocis", "/graph/v1.0/users"),
    ("ocis", "/graph/v1beta1/drives/"),
]


async def test_lost_replies_to_every_creation_make_no_twin(world: World) -> None:
    anna = await world.person("anna")
    for name, path in CREATIONS:
        standing_in: Any = getattr(world.suite, name)
        rule = {"effect": "lose_reply", "method": "POST", "pathPrefix": path, "count": 2}
        assert standing_in.http.post("/_sandbox/faults", json=rule).status_code == 201
    await world.create()
    await world.settled("Provisioned", seconds=30)
    assert (len(world.groups()), len(world.domains()), len(world.spaces())) == (1, 1, 1)
    assert set(world.mailboxes()) == {anna.email}
    probes = world.suite.authentik.results("/core/users/", username=f"dezky-probe-{world.slug()}")
    assert len(probes) == 1
    assert [u["mail"] for u in world.suite.ocis.get("/graph/v1.0/users")["value"]].count(anna.email) == 1


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"effect": "error"}, "Away"),
        ({"effect": "throttle", "retryAfterSeconds": 1}, "Busy"),
        ({"effect": "drop"}, "Away"),
    ],
)
async def test_an_integration_that_fails_leaves_the_tenant_pending_with_the_reason_and_heals(
    world: World, rule: dict[str, Any], reason: str
) -> None:
    for standing_in in (world.suite.authentik, world.suite.stalwart, world.suite.ocis):
        assert standing_in.http.post("/_sandbox/faults", json=rule).status_code == 201
    await world.create()

    async def told() -> bool:
        seen = await world.tenant()
        assert seen["status"] == "pending"
        return set((await world.conditions()).values()) == {("pending", reason)}

    await eventually(told)
    world.suite.heal()
    assert (await world.settled("Provisioned"))["status"] == "active"
    retries = [
        e for e in await world.events("tenant.provisioning_changed.v1") if e["changes"]["status"]["after"] != "ready"
    ]
    assert retries == []


async def test_a_slow_integration_delays_no_other_tenant(world: World) -> None:
    rule = {"effect": "delay", "latencyMs": 1_000}
    assert world.suite.ocis.http.post("/_sandbox/faults", json=rule).status_code == 201
    names = [f"t{number}" for number in range(6)]
    for name in names:
        await world.create(name, domains=False)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for name in names:
        await world.settled("Provisioned", name, seconds=30)
    # One after the other would take more than a second for each call of each of six.
    assert loop.time() - began < 3 * len(names)


async def test_a_process_that_is_killed_in_the_middle_is_followed_without_a_twin(
    service_environment: Any, mongo: Mongo, suite: Suite
) -> None:
    environment = service_environment("tenant", **suite.settings(), resync_seconds=1)
    async with process(environment) as (child, url), httpx.AsyncClient(base_url=url) as http:
        world = World(http, mongo, suite)
        await eventually(lambda: ready(http), seconds=30)
        await world.sell()
        anna = await world.person("anna")
        hang = {"effect": "delay", "latencyMs": 60_000, "pathPrefix": "/graph/v1beta1/"}
        assert suite.ocis.http.post("/_sandbox/faults", json=hang).status_code == 201
        await world.create()

        async def begun() -> bool:
            return len(world.spaces()) == 1

        await eventually(begun)
        child.kill()
        await child.wait()
    suite.heal()
    row = await mongo.db["tenants"].find_one({"slug": world.slug()})
    assert row is not None
    assert row["status"] == "pending"
    async with process(environment) as (_, url), httpx.AsyncClient(base_url=url) as http:
        world.http = http
        await eventually(lambda: ready(http), seconds=30)
        # The lease of the dead process has to end first.
        seen = await world.settled("Provisioned", seconds=LEASE.total_seconds() + 15)
    assert seen["status"] == "active"
    assert (len(world.groups()), len(world.domains()), len(world.spaces())) == (1, 1, 1)
    assert world.members() == {anna.email}


async def test_a_suspension_during_a_slow_comparison_is_not_taken_for_provisioned(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    rule = {"effect": "delay", "latencyMs": 400, "pathPrefix": "/graph/v1.0/drives"}
    assert world.suite.ocis.http.post("/_sandbox/faults", json=rule).status_code == 201
    for _ in range(2):
        await world.act("suspend", body=REASON)
        await world.act("resume")
    await world.act("suspend", body=REASON)
    await world.settled("Proven", seconds=30)
    assert is_disabled(world.space())
    assert world.suite_sign_in(anna) == (400, "invalid_grant")


class Counting:
    """A backend that notices when two work on one tenant at once."""

    def __init__(self, pause: float = 0.02) -> None:
        self.inside: dict[str, int] = {}
        self.most = 0
        self.at_once = 0
        self.done = 0
        self.pause = pause

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        self.inside[desired.slug] = self.inside.get(desired.slug, 0) + 1
        self.most = max(self.most, self.inside[desired.slug])
        self.at_once = max(self.at_once, sum(self.inside.values()))
        try:
            await asyncio.sleep(self.pause)
        finally:  # who is cancelled works no more, and the other may begin
            self.inside[desired.slug] -= 1
        self.done += 1
        return desired.achieved

    async def close(self) -> None:
        return


RESYNC = timedelta(seconds=0.01)


def replica(
    mongo: Mongo,
    name: str,
    backend: Counting,
    ttl: timedelta = LEASE,
    resync: timedelta = RESYNC,
    departures: Departures | None = None,
    **more: Counting,
) -> Reconciler:
    tenants, clock = TenantRepository(mongo), SystemClock()
    rows, outbox = ProvisioningRepository(mongo), Outbox(mongo, "tenant", clock)
    ledger = Ledger(rows, tenants, mongo.transactions, outbox, clock, resync)
    desires, acceptances = Desires(tenants, PeopleRepository(mongo)), AcceptanceRepository(mongo)
    deletions = deletions_of(mongo, departures)

    def lease(key: str) -> Lease:
        return Lease(mongo.db, key, name, ttl)

    backends: dict[Any, Any] = {"ocis": backend, **more}
    return Reconciler(ledger, desires, backends, lease, deletions, acceptances)


async def stored(mongo: Mongo, slug: str) -> Tenant:
    now = SystemClock().now()
    choice: dict[str, Any] = {"plan": "business", "cycle": "month", "currency": "EUR", "seats": 1, "partner": "nordic"}
    tenant = Tenant(
        id=f"id-of-{slug}", slug=slug, name=slug, status="pending", created_at=now, updated_at=now, **choice
    )

    async def body(tx: Transaction) -> None:
        await TenantRepository(mongo).insert(tenant, tx)
        await ProvisioningRepository(mongo).want(tenant, tx)

    await mongo.transactions.run(body)
    return tenant


async def test_two_replicas_never_work_on_one_tenant_at_once(mongo: Mongo) -> None:
    await mongo.ensure_indexes(INDEXES)
    backend = Counting()
    for number in range(12):
        await stored(mongo, f"t{number}")
    rows = ProvisioningRepository(mongo)
    workers = [
        ProvisioningWorker(mongo, rows, replica(mongo, name, backend), timedelta(seconds=60)) for name in ("a", "b")
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def enough() -> bool:
        return backend.done >= 120

    await eventually(enough, seconds=30)
    await end_tasks(running)
    assert backend.most == 1
    # Two replicas of eight at once each.
    assert 1 < backend.at_once <= 16
    assert await mongo.db["tenants"].count_documents({"status": "active"}) == 12
    assert await mongo.db["outbox"].count_documents({"type": "tenant.activated.v1"}) == 12


async def test_a_holder_that_slept_through_its_lease_writes_nothing_any_more(mongo: Mongo) -> None:
    tenant = await stored(mongo, "acme")
    rows = ProvisioningRepository(mongo)
    old = await rows.take(tenant.id, 1)
    await rows.take(tenant.id, 2)
    with pytest.raises(LeaseLost):
        await rows.remember(tenant.id, 1, "ocis", {"space": "x"})
    with pytest.raises(LeaseLost):
        await rows.take(tenant.id, 1)

    async def settle(tx: Transaction) -> None:
        await rows.settle(old, 1, timedelta(0), tx)

    with pytest.raises(LeaseLost):
        await mongo.transactions.run(settle)
    assert (await rows.take(tenant.id, 2)).memos == {}


async def test_whoever_loses_the_lease_stops_at_once(mongo: Mongo) -> None:
    tenant = await stored(mongo, "acme")
    backend = Counting(pause=30)
    # The renewal is asked for every third of LEASE; by then a lease of a tenth of a second has passed to another.
    working = asyncio.create_task(replica(mongo, "a", backend, timedelta(seconds=0.1)).reconcile(tenant.id))
    other = Lease(mongo.db, f"provisioning/{tenant.id}", "b", timedelta(seconds=60))

    async def begun() -> bool:
        return backend.inside == {"acme": 1}

    await eventually(begun)
    await eventually(other.acquire)
    assert await asyncio.wait_for(working, 10) is False
    assert backend.done == 0


class Forgetful(Counting):
    """A backend that is killed once, after it has repaired what it found."""

    killed = False

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        self.done += 1
        if self.done == 2:
            await differences.repair("space-quota", "the-space")
            self.killed = True
            raise LeaseLost("as if the process had ended")
        return desired.achieved


async def test_drift_whose_repair_was_interrupted_is_told_once_all_is_right_again(mongo: Mongo) -> None:
    tenant = await stored(mongo, "acme")
    backend = Forgetful()

    async def told() -> list[Any]:
        rows = mongo.db["outbox"].find({"type": "tenant.drift_repaired.v1"})
        return [row["envelope"]["data"]["drift"] async for row in rows]

    assert await replica(mongo, "a", backend).reconcile(tenant.id)
    # Activation is a new version, for which all has to agree anew before anything can drift.
    await replica(mongo, "a", Counting()).reconcile(tenant.id)
    assert not await replica(mongo, "a", backend).reconcile(tenant.id)
    assert (backend.killed, await told()) == (True, [])
    assert await replica(mongo, "b", backend).reconcile(tenant.id)
    assert await replica(mongo, "b", backend).reconcile(tenant.id)
    assert await told() == [[{"integration": "ocis", "kind": "space-quota", "object": "the-space"}]]


class Failing(Counting):
    """A backend that is away as long as ``away``."""

    away = True

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        self.done += 1
        if self.away:
            raise RemoteAway("it is away")
        return desired.achieved


async def test_a_comparison_that_failed_is_repeated_only_where_it_failed_until_the_next_resync(mongo: Mongo) -> None:
    tenant, well, ill = await stored(mongo, "acme"), Counting(), Failing()
    patient = replica(mongo, "a", well, resync=timedelta(seconds=60), stalwart=ill)
    for _ in range(3):
        assert await patient.reconcile(tenant.id)
    assert (well.done, ill.done) == (1, 3)
    assert await replica(mongo, "a", well, stalwart=ill).reconcile(tenant.id)
    assert (well.done, ill.done) == (2, 4), "after a resync everything is looked at"
    ill.away = False
    assert await patient.reconcile(tenant.id)
    assert (well.done, ill.done) == (2, 5)
    row = await mongo.db["tenants"].find_one({"_id": tenant.id})
    assert row is not None
    assert row["status"] == "active"


class Emptied(Counting):
    """A backend of which nothing is left."""

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        self.done += 1
        assert desired.gone
        return desired.erased_with({"space": 1})


class Waiting:
    """Departures that need something which is away the first time."""

    asked = 0

    async def dismiss(self, tenant: str, limit: int = 100) -> int:
        self.asked += 1
        if self.asked == 1:
            raise RemoteAway("it is away")
        return 3 if self.asked == 2 else 0


async def test_a_deletion_ends_only_after_the_last_of_its_people_has_left(mongo: Mongo) -> None:
    now = SystemClock().now()
    tenant, tenants = await stored(mongo, "acme"), TenantRepository(mongo)
    doomed = tenant.delete(None, now, now)

    async def save(tx: Transaction) -> None:
        await tenants.save(tenant, doomed, tx)
        await tenants.save(doomed, doomed.begin_erasure(now), tx)

    await mongo.transactions.run(save)
    waiting = Waiting()
    doing = replica(mongo, "a", Emptied(), departures=waiting)
    assert await doing.reconcile(tenant.id)
    assert await mongo.db["certificates"].count_documents({}) == 0
    assert await doing.reconcile(tenant.id)
    assert waiting.asked == 3
    assert await mongo.db["certificates"].count_documents({}) == 1
    row = await mongo.db["tenants"].find_one({"_id": tenant.id})
    assert row is not None
    assert row["status"] == "deleted"
