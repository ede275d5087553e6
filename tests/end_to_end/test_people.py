"""One person on both surfaces: one deactivation shuts out both, at the gateway and at the identity provider."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from infrastructure.local import lifecycle, seeds
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

SURFACES = ("operator", "portal")


class Provider:
    """The identity provider, with an administrator's eyes."""

    def __init__(self, fleet: Fleet) -> None:
        self._place = fleet.place
        token = lifecycle.credentials_of(fleet.place).authentik[seeds.API_TOKEN]
        self._root = fleet.place.url(seeds.AUTHENTIK_OFFSET)
        self._http = httpx.AsyncClient(base_url=self._root, headers={"authorization": f"Bearer {token}"}, timeout=20)

    async def give_key(self, username: str, key: str) -> None:
        found = (await self._http.get("/api/v3/core/users/", params={"username": username})).json()["results"]
        name = f"key-of-{found[0]['pk']}"
        body = {"identifier": name, "intent": "app_password", "user": found[0]["pk"], "expiring": False}
        await self._http.post("/api/v3/core/tokens/", json=body)
        assert (await self._http.post(f"/api/v3/core/tokens/{name}/set_key/", json={"key": key})).status_code == 204

    async def token(self, username: str, key: str, surface: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": seeds.client_id(surface),
            "username": username,
            "password": key,
            "scope": "openid profile email",
        }
        async with httpx.AsyncClient(timeout=20) as stranger:
            return await stranger.post(f"{self._root}/application/o/token/", data=form)

    async def close(self) -> None:
        await self._http.aclose()


async def test_one_deactivation_shuts_a_person_out_on_both_surfaces(fleet: Fleet) -> None:
    email, key = f"second-{secrets.token_hex(4)}@dezky.local", secrets.token_urlsafe(24)
    provider = Provider(fleet)
    async with fleet.client("operator@dezky.local", "operator") as operator:
        invited = await operator.post("/api/users/invite", json={"email": email, "name": "Second Operator"})
        assert invited.status_code == 201, invited.text
        await provider.give_key(email, key)
        tokens: dict[str, str] = {}
        for surface in SURFACES:
            tokens[surface] = (await provider.token(email, key, surface)).json()["access_token"]

        async def me(surface: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {tokens[surface]}"}
            async with httpx.AsyncClient(base_url=fleet.gateway, timeout=20) as client:
                return await client.get("/api/me", headers=headers)

        seen: list[dict[str, Any]] = []
        for surface in SURFACES:
            answer = await me(surface)
            assert answer.status_code == 200, answer.text
            seen.append(answer.json())
        assert seen[0]["id"] == seen[1]["id"]

        done = await operator.post(f"/api/users/{seen[0]['id']}/deactivate")
        assert done.status_code == 200, done.text

        async def shut_out() -> bool:
            return [(await me(surface)).status_code for surface in SURFACES] == [401, 401]

        # Named as «seconds»: asserted at three times three.
        assert await eventually(shut_out, seconds=9)

        async def refused_at_the_provider() -> bool:
            answers = [await provider.token(email, key, surface) for surface in SURFACES]
            return all(a.status_code == 400 and a.json()["error"] == "invalid_grant" for a in answers)

        assert await eventually(refused_at_the_provider, seconds=20)
        await operator.post(f"/api/users/{seen[0]['id']}/reactivate")

        async def welcome() -> bool:
            answers = [await provider.token(email, key, surface) for surface in SURFACES]
            if not all(a.is_success for a in answers):
                return False
            tokens.update(zip(SURFACES, (a.json()["access_token"] for a in answers), strict=True))
            return [(await me(surface)).status_code for surface in SURFACES] == [200, 200]

        assert await eventually(welcome, seconds=20)
    await provider.close()
