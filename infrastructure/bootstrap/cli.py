"""The command: one part after the other, one line per step.

Exit codes: 0 everything is ready, 1 a server did not come or refused a call, 2 a variable or an argument is wrong, 3
somebody has to do something by hand, which the line names. A part that stops does not keep the others from running.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError

from infrastructure.bootstrap import parts
from infrastructure.bootstrap.reports import ByHand, Report, Stopped
from infrastructure.bootstrap.settings import BootstrapSettings
from shared.settings import load

READY, FAILED, WRONG, BY_HAND = 0, 1, 2, 3
_UNEXPECTED = (PyMongoError, NatsError, BotoCoreError, ClientError, httpx.HTTPError, OSError)

Part = Callable[[BootstrapSettings], AsyncIterator[Report]]
Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="infrastructure.bootstrap", description="Makes a deployment ready; safe to run again at any time"
    )
    names = ",".join(parts.PARTS)
    parser.add_argument("--only", metavar="PARTS", type=_named, default=list(parts.PARTS), help=f"some of {names}")
    wanted: list[str] = parser.parse_args(arguments).only
    return asyncio.run(run(load(BootstrapSettings), wanted, _say))


def _named(text: str) -> list[str]:
    wanted = [name for name in text.split(",") if name]
    if unknown := [name for name in wanted if name not in parts.PARTS]:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}, only {', '.join(parts.PARTS)}")
    return wanted


def _say(line: str) -> None:
    print(line, flush=True)


async def run(settings: BootstrapSettings, wanted: Sequence[str], say: Say) -> int:
    """Run the parts in their own order; say each step, and return the exit code."""
    codes = [await _run(name, part, settings, say) for name, part in parts.PARTS.items() if name in wanted]
    return max(codes, default=READY)  # by hand is the highest: to run again is of no use then


async def _run(name: str, part: Part, settings: BootstrapSettings, say: Say) -> int:
    try:
        async for report in part(settings):
            say(f"{report.outcome:<8}{name}: {report.step}")
    except Stopped as stopped:
        say(f"{'missing' if isinstance(stopped, ByHand) else 'failed':<8}{name}: {stopped}")
        return BY_HAND if isinstance(stopped, ByHand) else FAILED
    except _UNEXPECTED as failed:
        # What a driver says of a failed call names servers and codes, never what was sent.
        say(f"failed  {name}: {failed}. Look at that server's log, then run again.")
        return FAILED
    return READY
