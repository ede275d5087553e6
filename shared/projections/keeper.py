"""The keeper of a service's projections: compares them once a day, removes old generations, says how they stand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import Gauge

from shared.bus import BusUnavailable
from shared.errors import Conflict, DomainError, NotFound
from shared.leases import Lease, LeaseLost
from shared.projections.catch_up import CatchUp
from shared.projections.compare import SETTLE, Comparison
from shared.projections.derived import Derivation, Renewal, RenewalUnderWay
from shared.projections.generations import GRACE, Generations
from shared.projections.models import KINDS, Findings, Standing, in_words
from shared.projections.rebuild import Rebuild
from shared.projections.snapshots import Owner, Say
from shared.settings import ProjectingSettings

if TYPE_CHECKING:
    from shared.app import Platform

log = structlog.get_logger()

POLL_SECONDS = 5.0
FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=1)

_differences = Gauge(
    "dezky_projection_differences", "Rows that the newest comparison found wrong", ["service", "projection", "kind"]
)


class ComparisonUnderWay(Conflict):
    code, title = "comparison_under_way", "Another process compares this projection"


class NoOwnerAddress(Conflict):
    code, title = "no_owner_address", "The owner's address is not set"


class Keeper:
    """Use cases of all projections of one service; the worker runs in every replica, its work in one at a time."""

    def __init__(
        self,
        platform: Platform,
        settings: ProjectingSettings,
        projections: Sequence[Generations[Any]],
        beside: Sequence[CatchUp[Any] | Derivation] = (),
        *,
        grace: timedelta = GRACE,
        settle: timedelta = SETTLE,
    ) -> None:
        self.platform = platform
        self.projections = {generations.spec.name: generations for generations in projections}
        self.catch_ups = {each.name: each for each in beside if isinstance(each, CatchUp)}
        self.derived = {each.name: each for each in beside if isinstance(each, Derivation)}
        self._hour = settings.compare_hour_utc
        self._grace = grace
        self._settle = settle
        self._owners = {name: Owner(name, url, platform.issuer) for name, url in settings.owners.items()}
        self._retry: dict[str, tuple[float, timedelta]] = {}

    @property
    def names(self) -> list[str]:
        """What `rebuild` accepts, in the order in which it does all of them."""
        return [*self.projections, *self.catch_ups, *self.derived]

    async def prepare(self) -> None:
        """Make what handlers and readers rely on; safe to repeat."""
        for generations in self.projections.values():
            await generations.prepare(self.platform.clock.now())

    async def run(self) -> None:
        """Tend all projections until cancelled.

        Raises:
            one of DATABASE_UNAVAILABLE: to be run again when the database is there.
        """
        while True:
            await self._renew_quietly()
            for generations in self.projections.values():
                await self.tend(generations)
            await asyncio.sleep(POLL_SECONDS)

    async def tend(self, generations: Generations[Any]) -> None:
        """Do what is due for one projection: remove old generations, compare, show what was found."""
        name = generations.spec.name
        standing = await generations.standing()
        if standing.pointer.retiring or standing.pointer.dropping:
            await self.sweep(generations)
        if generations.spec.owner in self._owners and self._is_due(name, standing.compared_at):
            await self._compare_quietly(generations)
            await self.sweep(generations)
            standing = await generations.standing()
        for kind in KINDS:
            _differences.labels(self.platform.name, name, kind).set(standing.findings.counts.get(kind, 0))

    async def sweep(self, generations: Generations[Any]) -> bool:
        """Remove generations whose time is over; False if a rebuild works on them."""
        lease = self.platform.lease(f"rebuild-{generations.spec.name}")
        try:
            if not await lease.acquire():
                return False
            for gone in await generations.retire(lease, self._grace):
                log.info("projection.dropped", collection=gone)
        except LeaseLost:
            return False
        finally:
            await lease.release()
        return True

    async def rebuild(self, name: str, say: Say) -> None:
        """Build a projection anew, catch up what is none, or make anew what is made of projections.

        What is made of a rebuilt projection is made anew by ``renew``, or within seconds by the worker.

        Raises:
            NotFound: there is no such projection. NoOwnerAddress.
            See ``Rebuild.run``, ``CatchUp.run`` and ``Renewal.run``.
        """
        if name in self.derived:
            await self._renewal(name).run(say, anyway=True)
            return
        if (catch_up := self.catch_ups.get(name)) is not None:
            await catch_up.run(self.owner(catch_up.owner), say)
            return
        generations = self._find(name)
        lease = self.platform.lease(f"rebuild-{name}")
        await Rebuild(generations, self.owner(generations.spec.owner), lease, say).run()

    async def renew(self, say: Say) -> None:
        """Make anew what is made of projections that were switched.

        Raises:
            RenewalUnderWay, LeaseLost: see ``Renewal.run``.
        """
        for name in self.derived:
            renewal = self._renewal(name)
            if await renewal.due():
                await renewal.run(say)

    async def compare(self, name: str, say: Say) -> Findings:
        """Compare a projection with its owner now, store and return what was found.

        Raises:
            NotFound, NoOwnerAddress, OwnerAway, OwnerRefused, ConsumerBehind, BusUnavailable
            ComparisonUnderWay: another process is at it.
        """
        generations = self._find(name)
        lease = self.platform.lease(f"compare-{name}")
        if not await lease.acquire():
            raise ComparisonUnderWay(f"wait for the comparison of {name} that is under way")
        try:
            return await self._compare(generations, lease, say)
        finally:
            await lease.release()

    async def standings(self) -> dict[str, Standing]:
        """Return how every projection stands."""
        return {name: await generations.standing() for name, generations in self.projections.items()}

    def owner(self, name: str) -> Owner:
        """Return the service that owns something.

        Raises:
            NoOwnerAddress
        """
        if (owner := self._owners.get(name)) is None:
            variable = f"{self.platform.name.upper()}_OWNERS"
            raise NoOwnerAddress(f"{variable} gives no URL for {name!r}")
        return owner

    async def close(self) -> None:
        """Close what was opened to owners."""
        for owner in self._owners.values():
            await owner.close()

    async def _compare(self, generations: Generations[Any], lease: Lease, say: Say) -> Findings:
        async def hold() -> None:
            if not await lease.acquire():
                raise LeaseLost(f"the comparison of {generations.spec.name} has passed to another process")

        async def behind() -> int:
            return await self.platform.bus.behind(generations.spec.consumer)

        generation = (await generations.pointer()).current
        owner = self.owner(generations.spec.owner)
        comparison = Comparison(generations, owner, behind, say, self._settle)
        findings = await comparison.run(generation, hold)
        if (await generations.pointer()).current == generation:  # else it was rebuilt meanwhile, and is compared
            await generations.record(findings, self.platform.clock.now())
        return findings

    async def _renew_quietly(self) -> None:
        """Do what a rebuild that was killed has left; where another process is at it, leave that to it."""
        for name in self.derived:
            renewal = self._renewal(name, patience=timedelta(0))
            if await renewal.due():
                with contextlib.suppress(RenewalUnderWay, LeaseLost):
                    await renewal.run(lambda text: log.info("projection.renewed", result=text))

    def _renewal(self, name: str, **more: Any) -> Renewal:
        lease = self.platform.lease(f"renew-{name}")
        return Renewal(self.platform.mongo, self.derived[name], lease, **more)

    async def _compare_quietly(self, generations: Generations[Any]) -> None:
        """Compare as the worker does: what goes wrong is recorded, shown, and tried again later."""
        name = generations.spec.name
        try:
            findings = await self.compare(name, lambda text: log.info("projection.waiting", reason=text))
        except (ComparisonUnderWay, LeaseLost):
            return
        except (DomainError, BusUnavailable) as error:
            _, pause = self._retry.get(name, (0.0, FIRST_RETRY))
            self._retry[name] = (time.monotonic() + pause.total_seconds(), min(2 * pause, LAST_RETRY))
            log.warning("projection.not_compared", projection=name, reason=str(error))
            await generations.record_trouble(str(error))
            return
        self._retry.pop(name, None)
        level = log.error if findings.total else log.info
        level("projection.compared", projection=name, differences=in_words(findings))

    def _is_due(self, name: str, compared_at: datetime | None) -> bool:
        not_before, _ = self._retry.get(name, (0.0, FIRST_RETRY))
        if compared_at is None or time.monotonic() < not_before:
            return False
        return compared_at < latest_at(self._hour, self.platform.clock.now())

    def _find(self, name: str) -> Generations[Any]:
        if name not in self.projections:
            raise NotFound(f"{self.platform.name} keeps no projection {name!r}: choose from {_listed(self.names)}")
        return self.projections[name]


def latest_at(hour: int, now: datetime) -> datetime:
    """Return the last moment, not after ``now``, at which a day reached ``hour`` (UTC)."""
    today = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
