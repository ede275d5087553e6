"""The tenant service as it is, but that it kills itself at a step: ``DIE_AT`` is before_commit, publish or mark."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from services.tenant.main import NAME, build
from services.tenant.settings import TenantSettings
from shared.app import Platform, serve
from shared.contracts import Event
from shared.mongo import Document, Transaction
from shared.outbox import Outbox, OutboxRelay
from shared.settings import load

STEP = os.environ.get("DIE_AT", "")


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class DyingOutbox(Outbox):
    async def add(self, tx: Transaction, *events: Event) -> NoReturn:
        await super().add(tx, *events)
        die()


class DyingRelay(OutboxRelay):
    async def publish(self, rows: Sequence[Document]) -> None:
        if STEP == "publish":
            die()
        await super().publish(rows)

    async def mark(self, ids: Sequence[str]) -> None:
        if STEP == "mark":
            die()
        await super().mark(ids)


class DyingPlatform(Platform):
    def relay(self) -> OutboxRelay:
        return DyingRelay(self.mongo, self.bus, self.name, self.clock, self.lease("outbox-relay"))


def main() -> None:
    settings = load(TenantSettings)
    platform: Any = DyingPlatform.build(NAME, settings)
    if STEP == "before_commit":
        platform = dataclasses.replace(platform, outbox=DyingOutbox(platform.mongo, NAME, platform.clock))
    serve(build(settings, platform), settings, NAME)


if __name__ == "__main__":
    main()
