"""One replica of the chain's writer as a process: the audit service's production parts without its HTTP side.

`SLEEPS=1` makes it stop itself (SIGSTOP) once, when it is about to write its first batch, as a paused machine would.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from services.audit.chain import Appended, ChainWriter
from services.audit.consumers import ChainConsumer
from services.audit.main import CHAIN_LEASE
from services.audit.models import Fact
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared import logs
from shared.app import Platform
from shared.settings import decode_key, load


class Sleepy(ChainWriter):
    """Sleeps between having its batch and writing it, and does not know for how long."""

    _slept = False

    async def append(self, facts: Sequence[Fact]) -> Appended:
        if not self._slept:
            self._slept = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return await super().append(facts)


async def main() -> None:
    settings = load(AuditSettings)
    logs.configure("audit", "INFO")
    platform = Platform.build("audit", settings)
    vault = Vault(decode_key(settings.personal_key.get_secret_value()))
    lease = platform.lease(CHAIN_LEASE)
    kind = Sleepy if os.environ.get("SLEEPS") else ChainWriter
    writer = kind(platform.mongo.transactions, AuditRepository(platform.mongo.db), vault, lease)
    platform.bus.start()
    await ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock).run()


if __name__ == "__main__":
    asyncio.run(main())
