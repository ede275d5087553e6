"""A rebuild of the flags service's tenants that kills itself at the step ``DIE_AT``."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from typing import Any

from services.flags.repository import TENANTS
from shared.auth import InternalTokenIssuer
from shared.clock import SystemClock
from shared.leases import Lease
from shared.mongo import Mongo
from shared.projections.generations import Generations
from shared.projections.models import Building, Pointer
from shared.projections.rebuild import Rebuild
from shared.projections.snapshots import Owner
from shared.testing import seed_of


def die_at(step: str) -> None:
    if os.environ["DIE_AT"] == step:
        os.kill(os.getpid(), signal.SIGKILL)


class Dying(Generations[Any]):
    async def _create(self, generation: int) -> None:
        die_at("reserved")
        await super()._create(generation)
        die_at("created")

    async def fill(self, lease: Lease, building: Building, states: Any, cursor: str | None) -> Building:
        filled = await super().fill(lease, building, states, cursor)
        die_at("page")
        return filled

    async def switch(self, lease: Lease, building: Building) -> Pointer:
        die_at("compared")
        pointer = await super().switch(lease, building)
        die_at("switched")
        return pointer


async def main() -> None:
    mongo = Mongo(os.environ["MONGO_URI"], os.environ["MONGO_DATABASE"], "tests")
    owner = Owner(
        "tenant", os.environ["OWNER"], InternalTokenIssuer("flags", "flags-1", seed_of("flags"), SystemClock())
    )
    lease = Lease(mongo.db, "rebuild-tenants", "dying", timedelta(seconds=0.5))
    await Rebuild(Dying(mongo, TENANTS), owner, lease, lambda _: None).run()


if __name__ == "__main__":
    asyncio.run(main())
