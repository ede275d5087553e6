"""``python -m infrastructure.compose DOMAIN EMAIL [--file .env]``: makes a deployment's variables."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from infrastructure.compose.dotenv import ensure
from infrastructure.local.errors import Obstacle

_DOMAIN = re.compile(r"(?=.{4,200}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_EMAIL = re.compile(r"[^@\s']+@[^@\s']+")


def main(words: Sequence[str] | None = None) -> int:
    """Writes the file and says which variables are new, never their values. Exit code 2: something is in the way."""
    parser = argparse.ArgumentParser(prog="infrastructure.compose", description="Makes the variables of a deployment")
    parser.add_argument("domain", help="as in example.com; the surfaces lie below it")
    parser.add_argument("email", help="the first operator, to whom the certificate authority writes, too")
    parser.add_argument("--file", type=Path, default=Path(".env"))
    arguments = parser.parse_args(words)
    if not _DOMAIN.fullmatch(arguments.domain):
        parser.error(f"DOMAIN is {arguments.domain!r}: give a domain name in lower case, as in example.com")
    if not _EMAIL.fullmatch(arguments.email):
        parser.error(f"EMAIL is {arguments.email!r}: give an address, as in you@example.com")
    said = {"DEZKY_DOMAIN": arguments.domain, "DEZKY_OPERATOR_EMAIL": arguments.email}
    try:
        added = ensure(arguments.file, said | {"DEZKY_ACME_EMAIL": arguments.email})
    except Obstacle as obstacle:
        print(obstacle, file=sys.stderr)
        return 2
    print(f"{arguments.file}: {len(added)} added{': ' if added else ', nothing was missing'}{', '.join(added)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
