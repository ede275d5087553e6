"""``python -m infrastructure.docs [events] [env] [openapi] [dashboards] [compose] [supply] [--check]``

Makes the documents anew, or only says which are stale.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from infrastructure.compose import documents as compose
from infrastructure.docs import environment, events, openapi, supply
from infrastructure.docs.discovery import ROOT
from infrastructure.grafana import dashboards

DOCUMENTS: Mapping[str, Callable[[], dict[Path, str]]] = {
    "events": events.render,
    "env": environment.render,
    "openapi": openapi.render,
    "compose": compose.render,
    "supply": supply.render,
    "dashboards": dashboards.render,
}


def stale(name: str) -> dict[Path, str]:
    """The files of one document that do not say what the code says, with what they should say."""
    return {path: text for path, text in DOCUMENTS[name]().items() if _read(path) != text}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    """Write what is stale and return 0; with ``--check`` write nothing and return 1 if anything is."""
    parser = argparse.ArgumentParser(prog="infrastructure.docs", description="Documents made from the code")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(DOCUMENTS)} (default: all)")
    parser.add_argument("--check", action="store_true", help="only say which are stale; fails if any are")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - DOCUMENTS.keys():
        parser.error(f"there is no document {min(unknown)!r}: choose of {', '.join(DOCUMENTS)}")
    old = {path: text for name in arguments.names or DOCUMENTS for path, text in stale(name).items()}
    for path, text in old.items():
        if arguments.check:
            print(f"{path.relative_to(ROOT)} is stale. Run: python -m infrastructure.docs", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} written")
    return 1 if arguments.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
