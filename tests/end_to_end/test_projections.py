"""`make compare` and `make rebuild` on a running fleet: a damaged projection is named, healed, and agrees again."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest

from tests.support.fleet import Fleet, command
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]


async def test_a_damaged_projection_is_named_and_healed_by_make(fleet: Fleet) -> None:
    async def run(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(command, fleet.place, *words)

    with fleet.root() as root:
        pointer = root["flags"]["projections"].find_one({"_id": "tenants"})
        assert pointer is not None
        current = pointer["current"]
        rows = root["flags"]["tenants" if current == 1 else f"tenants_{current}"]

        async def settled() -> Any:
            """An active tenant of which no event is on its way: that would bring the row back."""
            owned = root["tenant"]["tenants"].find_one({"status": "active"}, sort=[("updated_at", 1)])
            return owned and rows.find_one({"_id": owned["slug"], "version": owned["version"]})

        lost = await eventually(settled, seconds=60)
        rows.delete_one({"_id": lost["_id"]})
        compared = await run("compare", "flags")
        assert (compared.returncode, f"missing {lost['_id']}" in compared.stdout) == (1, True), compared
        rebuilt = await run("rebuild", "flags", "tenants")
        assert (rebuilt.returncode, f"switched to generation {current + 1}" in rebuilt.stdout) == (0, True), rebuilt
        healed = root["flags"][f"tenants_{current + 1}"].find_one({"_id": lost["_id"]})
        assert healed is not None
        assert healed["tenant_id"] == lost["tenant_id"]
    caught_up = await run("rebuild", "billing")
    assert (caught_up.returncode, "were caught up" in caught_up.stdout) == (0, True), caught_up
