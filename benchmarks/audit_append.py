"""Appending to the audit log, against writing one by one, and against a bare bulk insert of the same documents.

Ours is all of `ChainWriter.append`: lease, duplicates, commitments and boxes of the personal values, hashes, insert,
head, positions of the sources, in one transaction per 500 events. The peers insert documents that are made already,
with the same indexes and the same write concern (majority, journaled).
"""

from __future__ import annotations

from benchmarks.processes import run_inner
from benchmarks.report import Comparison, Figure, worked
from benchmarks.servers import mongod
from benchmarks.setting import Setting


async def measure(setting: Setting) -> Figure:
    """Return both comparisons."""
    figure = Figure("append", "Audit: append (majority, journaled, chained, committed, indexed)")
    rounds, count, singly = setting.sized(5, 2), setting.sized(4_000, 1_000), setting.sized(400, 100)
    async with mongod(setting.folder) as uri:
        taken = await run_inner(setting.folder / "inner.log", "append", uri, rounds, count, singly)
    ours = worked("ChainWriter, 500 a batch", taken["chain"])
    figure.comparisons += [
        Comparison("against one by one", ours, worked("allocate, look up, insert", taken["single"]), 40.0),
        Comparison("against a bare bulk insert", ours, worked("insert_many, 500 a batch", taken["bulk"]), 0.5),
    ]
    return figure
