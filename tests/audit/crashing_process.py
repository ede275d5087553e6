"""The audit service's own consumer, in a process that is killed between the commit of a batch and its acknowledgement.

Composed of production parts; only the acknowledgement is replaced, by what the operating system does to a process.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from services.audit.chain import ChainWriter
from services.audit.consumers import ChainConsumer
from services.audit.main import CHAIN_LEASE
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared.app import Platform
from shared.bus import Delivery
from shared.settings import decode_key, load


class Killed(ChainConsumer):
    """Dies between the commit and the acknowledgement."""

    async def acknowledge(self, batch: Sequence[Delivery]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    settings = load(AuditSettings)
    platform = Platform.build("audit", settings)
    vault = Vault(decode_key(settings.personal_key.get_secret_value()))
    lease = platform.lease(CHAIN_LEASE)
    writer = ChainWriter(platform.mongo.transactions, AuditRepository(platform.mongo.db), vault, lease)
    platform.bus.start()
    await Killed(platform.bus, platform.mongo, lease, writer, platform.clock).run()


if __name__ == "__main__":
    asyncio.run(main())
