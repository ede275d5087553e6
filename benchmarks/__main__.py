"""``python -m benchmarks [name …] [--quick] [--largest N]``: measure, print, keep.

Exit codes: 0 measured (lost or won), 1 a figure is void or could not be taken.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks import machine, report
from benchmarks.setting import Setting
from infrastructure.local.place import ROOT

FIGURES = {
    "gateway": "benchmarks.gateway_routing",
    "tenant": "benchmarks.tenant_reads",
    "lists": "benchmarks.tenant_lists",
    "principals": "benchmarks.principals",
    "reports": "benchmarks.partner_reports",
    "reconcile": "benchmarks.reconcile",
    "append": "benchmarks.audit_append",
    "pipeline": "benchmarks.commit_to_chain",
    "verify": "benchmarks.audit_verify",
    "proofs": "benchmarks.audit_proofs",
    "log": "benchmarks.audit_lists",
    "archive": "benchmarks.audit_archive",
    "fleet": "benchmarks.fleet_start",
}
KEPT = ROOT / "benchmarks" / "results"
# A quick run is for seeing that everything works: its numbers are not for keeping.
PASSING = ROOT / ".local" / "benchmarks" / "quick"


def main() -> int:
    arguments = _arguments()
    load = machine.load_average()
    machine.step_aside()
    facts = machine.facts()
    failed = []
    for name in arguments.name or FIGURES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            figure = _measure(name, quick=arguments.quick, largest=arguments.largest)
        except Exception as error:  # noqa: BLE001 - the others are still worth measuring
            print(f"{name}: {_reason(error)}", file=sys.stderr)
            failed.append(name)
            continue
        figure.notes.append(f"Took {time.monotonic() - began:.0f} s.")
        document = figure.document(facts, load, quick=arguments.quick)
        report.write(PASSING if arguments.quick else KEPT, document)
        print("\n".join(report.table(document)), end="\n\n", flush=True)
        if figure.void:
            failed.append(name)
    if failed:
        print(f"void or not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_reason(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Measures every performance claim against its peers"
    )
    parser.add_argument("name", nargs="*", choices=[[], *FIGURES], help=f"one or more of: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="seconds instead of a minute for each, not kept")
    parser.add_argument("--largest", type=int, help="entries that the log is filled up to (`log` alone looks at it)")
    return parser.parse_args()


def _measure(name: str, *, quick: bool, largest: int | None) -> report.Figure:
    with tempfile.TemporaryDirectory(prefix=f"dezky-bench-{name}-") as folder:
        setting = Setting(Path(folder), quick, largest)
        figure: report.Figure = uvloop.run(importlib.import_module(FIGURES[name]).measure(setting))
        return figure


if __name__ == "__main__":
    sys.exit(main())
