"""`python -m services.audit.erasures list|replay`: carry the list of the erased past a restored backup.

`list` writes one JSON object a line, {"person", "at"}, to standard output; operations keeps it outside MongoDB.
`replay` reads such lines, and the list inside the database, and destroys the keys that a backup brought back.
It is run before the restored service serves. Neither holds a name or an address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import TextIO

from services.audit.erasing import Erasure
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared.clock import parse_rfc3339, rfc3339
from shared.mongo import Mongo, Transaction, Transactions
from shared.settings import load

NAME = "audit-erasures"


class Replay:
    """Erases again whoever was erased before."""

    def __init__(self, transactions: Transactions, repository: AuditRepository) -> None:
        self._transactions = transactions
        self._repository = repository

    async def run(self, kept: Iterable[Erasure]) -> int:
        """Destroy the keys of everybody in `kept` and in the database's own list; return how many people.

        One transaction a person; interrupted, it is run again from the start.
        """
        everybody = {erasure.person: erasure async for erasure in self._repository.erasures()}
        everybody |= {erasure.person: erasure for erasure in kept if erasure.person not in everybody}
        for erasure in everybody.values():
            await self._again(erasure)
        return len(everybody)

    async def _again(self, erasure: Erasure) -> None:
        async def body(tx: Transaction) -> None:
            digests = await self._repository.addresses_of(erasure.owner, tx)
            beside = await self._repository.keys_for((), digests, tx) if digests else []
            owners = [erasure.owner, *(row["_id"] for row in beside)]
            await self._repository.destroy_keys(owners, [erasure], digests, tx)

        await self._transactions.run(body)


def read(lines: Iterable[str]) -> list[Erasure]:
    """The erasures of a kept list. Raises ValueError with the number of the first line that is none."""
    found: list[Erasure] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append(Erasure(str(row["person"]), parse_rfc3339(row["at"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} names no erasure") from error
    return found


async def write(repository: AuditRepository, out: TextIO) -> None:
    """Write the list, one erasure a line."""
    async for erasure in repository.erasures():
        out.write(json.dumps({"person": erasure.person, "at": rfc3339(erasure.at)}) + "\n")


async def command(words: list[str], mongo: Mongo, lines: TextIO, out: TextIO) -> int:
    """Run `list` or `replay`; return the exit status."""
    repository = AuditRepository(mongo.db)
    if words == ["list"]:
        await write(repository, out)
        return 0
    if words == ["replay"]:
        count = await Replay(mongo.transactions, repository).run(read(lines))
        out.write(f"{count} people are erased\n")
        return 0
    out.write("usage: python -m services.audit.erasures list|replay\n")
    return 2


async def _main(words: list[str]) -> int:
    settings = load(AuditSettings)
    mongo = Mongo(settings.mongo_uri.get_secret_value(), settings.mongo_database, NAME)
    try:
        return await command(words, mongo, sys.stdin, sys.stdout)
    finally:
        await mongo.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1:])))
