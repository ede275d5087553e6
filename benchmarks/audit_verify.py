"""Verifying the audit log in MongoDB, against hashing the same entries in memory.

Ours reads every entry, checks its place, its hash, its members, its derived members, and opens every box of personal
values to compare it with its commitments. The peer does sha256 over canonical JSON of dictionaries that it holds, and
no more: once with the reference implementation of RFC 8785, once with orjson, which writes the same bytes for them.
"""

from __future__ import annotations

from benchmarks.processes import run_inner
from benchmarks.report import Comparison, Figure, worked
from benchmarks.servers import mongod
from benchmarks.setting import Setting

TARGET = 0.3


async def measure(setting: Setting) -> Figure:
    """Return the comparison with both encoders."""
    figure = Figure("verify", "Audit: verify")
    rounds, count = setting.sized(5, 2), setting.sized(10_000, 2_000)
    async with mongod(setting.folder) as uri:
        taken = await run_inner(setting.folder / "inner.log", "verify", uri, rounds, count)
    ours = worked("verify, from MongoDB", taken["verify"])
    figure.comparisons += [
        Comparison("against sha256 and rfc8785", ours, worked("in memory, rfc8785", taken["rfc8785"]), TARGET),
        Comparison("against sha256 and orjson", ours, worked("in memory, orjson", taken["orjson"]), TARGET),
    ]
    return figure
