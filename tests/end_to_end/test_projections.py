"""`make compare` and `make rebuild` on a running fleet: a damaged projection is named, healed, and agrees again."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.support.fleet import Fleet, command

pytestmark = [pytest.mark.fleet, pytest.mark.xdist_group("fleet"), pytest.mark.timeout(300)]


async def test_a_damaged_projection_is_named_and_healed_by_make(fleet: Fleet) -> None:
    async def run(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(command, fleet.place, *words)

    with fleet.root() as root:
        pointer = root["flags"]["projections"].find_one({"_id": "tenants"})
        assert pointer is not None
        current = pointer["current"]
        rows = root["flags"]["tenants" if current == 1 else f"tenants_{current}"]
        lost = rows.find_one_and_delete({"deleted": False})
        assert lost is not None
        compared = await run("compare", "flags")
        assert (compared.returncode, f"missing {lost['_id']}" in compared.stdout) == (1, True), compared
        rebuilt = await run("rebuild", "flags", "tenants")
        assert (rebuilt.returncode, f"switched to generation {current + 1}" in rebuilt.stdout) == (0, True), rebuilt
        healed = root["flags"][f"tenants_{current + 1}"].find_one({"_id": lost["_id"]})
        assert healed is not None
        assert healed["tenant_id"] == lost["tenant_id"]
    for service in ("tenant", "billing"):
        rebuilt = await run("rebuild", service)
        assert rebuilt.returncode == 0, rebuilt
    assert (await run("compare", "flags")).returncode == 0
