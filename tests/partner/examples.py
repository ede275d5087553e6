"""Partners and callers that the tests speak of."""

from __future__ import annotations

from typing import Any

import httpx

from shared.testing import Callers, operator

CALLERS = Callers("partner")

NORDIC: dict[str, Any] = {
    "slug": "nordic",
    "name": "Nordic Workspace",
    "domain": "nordic.example",
    "contact": {"name": "Nora Lindqvist", "email": "nora@nordic.example", "phone": "+45 70 12 34 56"},
    "contract": {
        "startsOn": "2026-01-01",
        "termMonths": 24,
        "margins": [{"since": "2026-01-01", "marginBps": 2_000}],
    },
}
FJORD: dict[str, Any] = {**NORDIC, "slug": "fjord", "name": "Fjord Digital", "domain": "fjord.example"}


def by_operator(**more: str) -> dict[str, str]:
    """Return the headers of an operator's request."""
    return CALLERS.headers(operator(), **more)


async def create(client: httpx.AsyncClient, *partners: dict[str, Any]) -> None:
    """Create ``partners`` as an operator."""
    for partner in partners:
        created = await client.post("/api/partners", json=partner, headers=by_operator())
        assert created.status_code == 201, created.text
