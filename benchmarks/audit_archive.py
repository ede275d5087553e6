"""Archiving old entries of the audit log, from MongoDB into batches on disk, and out of MongoDB.

The batches go to a folder instead of an S3 store: what is measured is the archiver, and not somebody's network. Each
is read back twice, as always. Beside the rate stands the peak memory of the process, which must not grow with the log.
"""

from __future__ import annotations

from benchmarks.processes import run_inner
from benchmarks.report import Bound, Figure
from benchmarks.servers import mongod
from benchmarks.setting import Setting

MOST_MIB = 400.0


async def measure(setting: Setting) -> Figure:
    """Return entries per second and peak memory."""
    figure = Figure("archive", "Audit: archive")
    count = setting.sized(1_000_000, 4_000)
    async with mongod(setting.folder) as uri:
        taken = await run_inner(setting.folder / "inner.log", "archive", uri, count)
    ((archived, seconds, peak),) = taken["archive"]
    figure.notes.append(f"{archived} entries in {seconds:.1f} s: {archived / seconds:.0f} entries/s.")
    figure.bounds.append(Bound("peak memory", peak, "MiB", MOST_MIB))
    return figure
