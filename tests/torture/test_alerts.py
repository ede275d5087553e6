"""Each alert fires when its fault is caused, on a whole fleet under a real Prometheus.

A fault that damages is caused on a fleet that is thrown away. Needs `prometheus` on the PATH.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from infrastructure.local import lifecycle, seeds
from infrastructure.local.processes import SERVICES, nats_url
from shared.topology import Topology
from tests.support.fleet import Fleet, command, start_fleet
from tests.support.waiting import eventually
from tests.test_instruments import alerts
from tests.torture.kept import keep
from tests.torture.watching import Watch, watching

PROMETHEUS = shutil.which("prometheus") or ""
pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(2_400),
    pytest.mark.skipif(not PROMETHEUS, reason="prometheus (Debian: prometheus) is not installed"),
]
STAFF = ("staff@nordic.example", "portal")
OPERATOR = ("operator@dezky.local", "operator")
TOPOLOGY = Topology()


@contextlib.contextmanager
def paused(fleet: Fleet, *processes: str) -> Iterator[None]:
    """Hold processes up: they are there, and answer nothing."""
    held = [fleet.pid(process) for process in processes]
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def again_and_again(act: Callable[[], Awaitable[Any]], pause: float = 0.2) -> AsyncIterator[None]:
    """Do something all the time, whatever comes of it, while the block runs."""

    async def go_on() -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await act()
            await asyncio.sleep(pause)

    going = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


def slug() -> str:
    return f"t-{secrets.token_hex(4)}"


async def create(staff: httpx.AsyncClient) -> str:
    """Create a tenant, which tells everybody something."""
    named = slug()
    body = {"slug": named, "name": "Acme", "plan": "business", "seats": 5}
    answer = await staff.post("/api/tenants", json=body)
    assert answer.status_code == 201, answer.text
    return named


class Faults:
    """The faults, in an order in which none hides another; each returns when its alerts have fired."""

    def __init__(self, fleet: Fleet, watch: Watch, staff: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
        self.fleet, self.watch, self.staff, self.operator = fleet, watch, staff, operator
        self.fired: dict[str, float] = {}

    async def expect(self, *names: str, seconds: float = 120) -> None:
        self.fired |= await self.watch.fires(*names, seconds=seconds)

    async def no_process(self) -> None:
        await self.watch.quiet("ProcessMissing")
        names = [service.name for service in SERVICES if service.name != "flags"]
        self.watch.look_at("gateway", *names)
        await self.expect("ProcessMissing")
        self.watch.look_at("gateway", *names, "flags")

    async def requests_fail_and_are_slow(self) -> None:
        """`/health` is answered within 5 s or with a 504, and anybody may ask."""
        async with httpx.AsyncClient(base_url=self.fleet.gateway, timeout=20) as anybody:

            async def ask() -> None:
                await asyncio.gather(*(anybody.get("/health") for _ in range(5)))

            burns = [f"{kind}{how}" for kind in ("Availability", "Latency") for how in ("Burns", "BurnsFast")]
            slowly = ["AvailabilityBurnsSlowly", "LatencyBurnsSlowly"]
            await self.watch.quiet("ProcessDown", *burns, *slowly)
            with paused(self.fleet, "health"):
                async with again_and_again(ask):
                    await self.expect("ProcessDown", *burns, *slowly)

    async def nats_is_away(self) -> None:
        await self.watch.quiet("OutboxOld", "NatsDisconnected", "ProbeFailing", "MeasurementFailing")
        with paused(self.fleet, "nats"):
            await create(self.staff)
            await self.expect("OutboxOld", "NatsDisconnected", "ProbeFailing", "MeasurementFailing", seconds=180)

    async def a_consumer_stands_still(self) -> None:
        await self.watch.quiet("ConsumerBehind", "ConsumerNeverDone")
        with paused(self.fleet, "audit"):
            await create(self.staff)
            await self.expect("ConsumerBehind", "ConsumerNeverDone")

    async def integrations_are_away(self) -> None:
        """Authentik is told nothing, asked nothing, and its keys cannot be fetched for a key that nobody knows."""
        await self.watch.quiet("PeopleTasksOld", "ProvisioningFailing", "IngestUnwell", "JwksFetchFailing")
        stranger = self._token_of_unknown_key()

        async def knock() -> None:
            await self.staff.get("/api/tenants", headers={"authorization": f"Bearer {stranger}"})

        with paused(self.fleet, "authentik"):
            named = await create(self.staff)
            invited = {"email": f"{named}@acme.example", "name": "Jane", "role": "member"}
            with contextlib.suppress(httpx.HTTPError):
                await self.staff.post(f"/api/tenants/{named}/users", json=invited)
            async with again_and_again(knock, 1.0):
                await self.expect(
                    "PeopleTasksOld", "ProvisioningFailing", "IngestUnwell", "JwksFetchFailing", seconds=240
                )

    def _token_of_unknown_key(self) -> str:
        def part(value: Any) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        now = int(datetime.now(UTC).timestamp())
        issuer, audience = seeds.issuer(self.fleet.place, "portal"), seeds.client_id("portal")
        claims = {"iss": issuer, "aud": audience, "sub": "x", "iat": now, "exp": now + 3_000}
        return f"{part({'alg': 'RS256', 'kid': 'nobody', 'typ': 'JWT'})}.{part(claims)}.{'A' * 342}"

    async def the_database_is_away(self) -> None:
        await self.watch.quiet("MongoPoolExhausted", "ServiceErrors")

        async def ask() -> None:
            await asyncio.gather(*(self.staff.get("/api/tenants") for _ in range(80)), return_exceptions=True)

        with paused(self.fleet, "mongod"):
            async with again_and_again(ask):
                await self.expect("MongoPoolExhausted", "ServiceErrors")

    async def nonsense_is_said(self) -> None:
        """A message that is no event, and one whose number leaves a hole."""
        await self.watch.quiet("DeadLetters", "AuditUnparsed", "SourceGap")
        teller = await nats.connect(nats_url(self.fleet.place, lifecycle.credentials_of(self.fleet.place), "tenant"))
        hole = {
            **{"specversion": "1.0", "id": secrets.token_hex(8), "source": "tenant", "type": "tenant.dreamt.v1"},
            **{"subject": "tenants/x", "time": "2026-11-29T12:00:00.000Z", "datacontenttype": "application/json"},
            **{"sourceseq": 1_000_000, "data": {}},
        }
        try:
            await teller.publish(TOPOLOGY.subject("tenant.updated.v1"), b"no event")
            await teller.publish(TOPOLOGY.subject("tenant.dreamt.v1"), json.dumps(hole).encode())
            await teller.flush()
        finally:
            await teller.close()
        await self.expect("DeadLetters", "AuditUnparsed", "SourceGap")

    async def a_stream_fills(self) -> None:
        await self.watch.quiet("StreamNearlyFull")
        admin = await nats.connect(nats_url(self.fleet.place, lifecycle.credentials_of(self.fleet.place), "admin"))
        try:
            js = admin.jetstream()
            about = await js.stream_info(TOPOLOGY.stream_events)
            generous = about.config.max_bytes
            answer = await admin.request(f"$JS.API.STREAM.INFO.{TOPOLOGY.stream_events}", b"", timeout=10)
            config = json.loads(answer.data)["config"]
            tight = json.dumps({**config, "max_bytes": int(about.state.bytes * 1.1)}).encode()
            await admin.request(f"$JS.API.STREAM.UPDATE.{TOPOLOGY.stream_events}", tight, timeout=10)
            await self.expect("StreamNearlyFull")
            loose = json.dumps({**config, "max_bytes": generous}).encode()
            await admin.request(f"$JS.API.STREAM.UPDATE.{TOPOLOGY.stream_events}", loose, timeout=10)
        finally:
            await admin.close()

    async def work_is_left(self) -> None:
        """A repricing that nobody can finish, a comparison that nobody gets to, a projection that was altered."""
        await self.watch.quiet("ProvisioningOverdue", "RepricingOpen", "WorkerFailing", "ProjectionDiffers")
        named = await create(self.staff)
        await eventually(lambda: self._is_active(named), seconds=60, pause=0.5)
        later = datetime.now(UTC) + timedelta(hours=1)
        with self.fleet.root() as root:
            tenant = root["tenant"]["tenants"].find_one({"slug": named})
            price = root["billing"]["prices"].find_one({})
            assert tenant is not None
            assert price is not None
            leases, rows = root["tenant"]["leases"], root["tenant"]["provisioning"]
            held = {"holder": "nobody", "token": 1_000_000, "expiresAt": later}
            leases.update_one({"_id": f"provisioning/{tenant['_id']}"}, {"$set": held}, upsert=True)
            past = datetime.now(UTC) - timedelta(minutes=1)
            rows.update_one({"_id": tenant["_id"]}, {"$set": {"next_at": past}})
            root["billing"]["repricings"].insert_one({"_id": price["_id"], "open": True, "version": 1})
            await eventually(lambda: self._altered(root["partner"], named), seconds=30, pause=0.5)
            await asyncio.to_thread(command, self.fleet.place, "compare", "partner")
            await self.expect("ProvisioningOverdue", "RepricingOpen", "WorkerFailing", "ProjectionDiffers", seconds=180)
            leases.delete_one({"_id": f"provisioning/{tenant['_id']}"})
            root["billing"]["repricings"].delete_one({"_id": price["_id"]})

    async def _is_active(self, named: str) -> bool:
        return bool((await self.staff.get(f"/api/tenants/{named}")).json()["status"] == "active")

    @staticmethod
    async def _altered(partner: Any, named: str) -> bool:
        """Alter a row of a projection, of whatever generation, once it is there."""
        names = partner.list_collection_names(filter={"name": {"$regex": "^customers"}})
        change = {"$set": {"name": "Somebody else"}}
        return any(partner[name].update_many({"slug": named}, change).matched_count for name in names)

    async def the_object_store_is_away(self) -> None:
        """No witness, no archive; and a checkpoint that was altered meanwhile is neither copied nor built upon."""
        # With all well a checkpoint ends these at once, however old the one before it was.
        await self.operator.post("/api/audit/checkpoint", timeout=60)
        await self.watch.quiet(
            "WitnessBehind", "CheckpointOld", "ArchiveFailing", "CheckpointRefused", "WitnessDiffers"
        )
        with paused(self.fleet, "s3"):
            await create(self.staff)
            made = await self.operator.post("/api/audit/checkpoint", timeout=60)
            assert made.status_code == 201, made.text
            async with again_and_again(lambda: self.operator.post("/api/audit/archive/run", timeout=60)):
                await self.expect("WitnessBehind", "ArchiveFailing", seconds=240)
            with self.fleet.root() as root:
                checkpoints = root["audit"]["checkpoints"]
                newest = checkpoints.find_one({}, sort=[("_id", -1)])
                assert newest is not None
                checkpoints.update_one({"_id": newest["_id"]}, {"$set": {"rootHash": "0" * 64}})
        await create(self.staff)
        await self.operator.post("/api/audit/checkpoint", timeout=60)
        await self.expect("CheckpointRefused", "CheckpointOld", "WitnessDiffers", seconds=180)

    async def the_head_is_gone(self) -> None:
        await self.watch.quiet("ChainBlocked")
        with self.fleet.root() as root:
            root["audit"]["heads"].delete_many({})
        await create(self.staff)
        await self.expect("ChainBlocked")


async def test_each_alert_fires_when_its_fault_is_caused(tmp_path: Path) -> None:
    fleet = start_fleet(tmp_path / "home")
    try:
        async with (
            watching(fleet.place, tmp_path / "watch", PROMETHEUS) as watch,
            fleet.client(*STAFF) as staff,
            fleet.client(*OPERATOR) as operator,
        ):
            fired = await _cause_all(Faults(fleet, watch, staff, operator), fleet)
    finally:
        command(fleet.place, "down")
    assert {rule.name for rule in alerts()} - fired.keys() == set()
    keep("alerts", {"seconds": dict(sorted(fired.items()))})


async def _cause_all(faults: Faults, fleet: Fleet) -> dict[str, float]:
    failures: list[str] = []
    for fault in (
        faults.no_process,
        faults.requests_fail_and_are_slow,
        faults.nats_is_away,
        faults.a_consumer_stands_still,
        faults.integrations_are_away,
        faults.the_database_is_away,
        faults.nonsense_is_said,
        faults.a_stream_fills,
        faults.work_is_left,
        faults.the_object_store_is_away,
        faults.the_head_is_gone,
    ):
        for who, client in ((STAFF, faults.staff), (OPERATOR, faults.operator)):
            client.headers["authorization"] = f"Bearer {fleet.token(*who)}"
        try:
            await fault()
        except AssertionError as error:
            failures.append(f"{fault.__name__}: {error}")
        print(f"{fault.__name__}: {faults.fired}", flush=True)
        await eventually(lambda: _well(faults.staff), seconds=120, pause=1, what="the fleet answers again")
    assert failures == [], "\n".join(failures)
    return faults.fired


async def _well(staff: httpx.AsyncClient) -> bool:
    try:
        return (await staff.get("/api/tenants")).status_code == 200
    except httpx.TransportError:
        return False
