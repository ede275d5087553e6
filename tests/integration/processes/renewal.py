"""A renewal of the partner service's standings, two in a step, that kills itself after the first."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import timedelta

from services.partner.customers.repository import CustomerRepository
from services.partner.main import derivation_of, projections_of
from services.partner.standings.repository import StandingRepository
from services.partner.standings.service import Standings
from shared.clock import SystemClock
from shared.leases import Lease
from shared.mongo import TRANSACTION_SECONDS, Mongo
from shared.projections.derived import Lap, Renewal


class Dying(Renewal):
    async def _step(self, lap: Lap, ids: Sequence[str], seconds: float = TRANSACTION_SECONDS) -> Lap:
        await super()._step(lap, ids, seconds)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it is dead")


async def main() -> None:
    mongo = Mongo(os.environ["MONGO_URI"], os.environ["MONGO_DATABASE"], "tests")
    projections = projections_of(mongo, CustomerRepository(mongo))
    made = derivation_of(projections, Standings(projections, StandingRepository(mongo), SystemClock()))
    lease = Lease(mongo.db, "renew-standings", "dying", timedelta(seconds=0.5))
    await Dying(mongo, made, lease, batch=2).run(lambda _: None)


if __name__ == "__main__":
    asyncio.run(main())
