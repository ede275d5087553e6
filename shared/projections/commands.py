"""`python -m services.<name> rebuild|compare [PROJECTION]`: beside the running service, with its environment.

Exit codes: 0 done and nothing differs, 1 it did not work or something differs, 2 not understood.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from shared import logs
from shared.bus import BusUnavailable
from shared.errors import DomainError
from shared.mongo import DATABASE_UNAVAILABLE
from shared.projections.keeper import Keeper
from shared.projections.models import in_words

OK, FAILED, NOT_UNDERSTOOD = 0, 1, 2
CONNECT_SECONDS = 10.0
_TROUBLE: tuple[type[Exception], ...] = (DomainError, BusUnavailable, TimeoutError, *DATABASE_UNAVAILABLE)


def run(words: Sequence[str], keeper: Keeper) -> int:
    """Do what ``words`` say and return the exit code; every line that is said goes to the terminal at once."""
    verb, *names = words
    known = keeper.names if verb == "rebuild" else list(keeper.projections)
    if verb not in {"rebuild", "compare"} or len(names) > 1 or not set(names) <= set(known):
        _complain(f"write: rebuild|compare [{'|'.join(known)}]")
        return NOT_UNDERSTOOD
    logs.configure(keeper.platform.name, "ERROR")
    return asyncio.run(_run(verb, names or known, keeper))


async def _run(verb: str, names: Sequence[str], keeper: Keeper) -> int:
    platform = keeper.platform
    try:
        await platform.mongo.ping()
        await keeper.prepare()
        if verb == "rebuild":
            for name in names:
                await keeper.rebuild(name, _say)
            await keeper.renew(_say)
            return OK
        return await _compare(names, keeper)
    except _TROUBLE as error:
        _complain(f"{verb} failed: {error}")
        return FAILED
    finally:
        for close in (keeper.close, platform.bus.close, platform.mongo.close):
            await close()


async def _compare(names: Sequence[str], keeper: Keeper) -> int:
    keeper.platform.bus.start()
    async with asyncio.timeout(CONNECT_SECONDS):
        await keeper.platform.bus.wait_connected()
    different = 0
    for name in names:
        findings = await keeper.compare(name, _say)
        different += findings.total
        _say(f"{name}: {in_words(findings)} of what differs from {keeper.projections[name].spec.owner}")
        for row in findings.rows:
            _say(f"  {row.kind} {row.row}: ours {row.ours}, theirs {row.theirs} {' '.join(row.names)}".rstrip())
    return FAILED if different else OK


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
