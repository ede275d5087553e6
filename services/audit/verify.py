"""`python -m services.audit.verify`: verify the log from a shell; prints the verdict, ends with 0 if it holds, else 1.

Reads the settings of the service from the environment. It writes nothing but the newest verified checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from services.audit.parts import signed_log, stores_of
from services.audit.schemas import VerdictView
from services.audit.settings import AuditSettings
from services.audit.verifications.places import Scope
from services.audit.verifications.service import Verifier
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.mongo import DATABASE_UNAVAILABLE, Mongo
from shared.settings import load

HOLDS, BROKEN, UNKNOWN = 0, 1, 2
AWAY: tuple[type[Exception], ...] = (Unavailable, *DATABASE_UNAVAILABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 it holds, 1 it does not, 2 nobody can tell (something is away, or asked wrongly)."""
    asked = _parser().parse_args(arguments)
    if asked.last is not None and asked.last < asked.first:
        sys.stderr.write("--to must not be before --from\n")
        return UNKNOWN
    scope = Scope(asked.first, asked.last, asked.since_checkpoint)
    return asyncio.run(_run(load(AuditSettings), scope, witness_only=asked.witness))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.audit.verify", description="Verify the audit log.")
    parser.add_argument("--from", dest="first", type=_number, default=1, metavar="N", help="first entry")
    parser.add_argument("--to", dest="last", type=_number, metavar="M", help="last entry; else the newest")
    parser.add_argument(
        "--since-checkpoint", action="store_true", help="only what came after the newest verified checkpoint"
    )
    parser.add_argument(
        "--witness", action="store_true", help="take checkpoints from the witness, and none from MongoDB"
    )
    return parser


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("entries are counted from 1")
    return number


async def _run(settings: AuditSettings, scope: Scope, *, witness_only: bool) -> int:
    stores = stores_of(settings)
    if witness_only and stores.witness is None:
        sys.stderr.write("--witness: no object store is configured\n")
        return UNKNOWN
    mongo = Mongo(settings.mongo_uri.get_secret_value(), settings.mongo_database, "dezky-audit-verify")
    try:
        verifier = signed_log(mongo, settings, stores, SystemClock()).verifier(trust_mongo=not witness_only)
        return await report(verifier, scope)
    except AWAY as error:
        sys.stderr.write(f"cannot verify: {error}\n")
        return UNKNOWN
    finally:
        await stores.close()
        await mongo.close()


async def report(verifier: Verifier, scope: Scope) -> int:
    """Verify, print the verdict, and return the exit status."""
    if scope.first > 1 and scope.first > (end := (await verifier.head()).seq):
        sys.stderr.write(f"--from: the log ends at entry {end}\n")
        return UNKNOWN
    verdict = await verifier.whole(scope)
    view = VerdictView.of(verdict, list(verdict.findings))
    sys.stdout.write(view.rendered().decode() + "\n")
    return HOLDS if verdict.broken is None else BROKEN


if __name__ == "__main__":
    sys.exit(main())
