"""The demo data: partners, tenants and people, made through the public API as their owners would make them.

Only the first operator exists beforehand, at the identity provider. Everybody else is invited; afterwards their
passwords are set there to the ones that `make up` prints, by the identity provider's own admin API. Every step
looks first, so an interrupted run is continued by the next.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from infrastructure.local import seeds
from infrastructure.local.access_token import fetch_token
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import StartFailed
from infrastructure.local.place import Place
from infrastructure.local.private_files import write_private

_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_MARGIN_BPS = 2_000
# What an answer says while something that was just made is still on its way to where it is needed.
_NOT_YET = frozenset({404, 409, 429, 502, 503, 504})
_NOT_YET_CODES = frozenset({"no_price_for_plan"})


def is_complete(place: Place) -> bool:
    """True when this folder has been given its demo data."""
    return _marker(place).exists()


def ensure(place: Place, credentials: Credentials) -> bool:
    """Makes what is missing; False when nothing had to be done. Raises StartFailed with the answer refused."""
    if is_complete(place):
        return False
    with _Seeder(place, credentials) as seeder:
        seeder.run(seeds.demo_data())
    write_private(_marker(place), datetime.now(UTC).isoformat())
    return True


def _marker(place: Place) -> Path:
    return place.state / "demo-data"


class _Seeder:
    def __init__(self, place: Place, credentials: Credentials) -> None:
        self._place = place
        self._credentials = credentials
        self._gateway = httpx.Client(base_url=place.url(0), timeout=20, trust_env=False)
        token = credentials.authentik[seeds.API_TOKEN]
        self._authentik = httpx.Client(
            base_url=place.url(seeds.AUTHENTIK_OFFSET) + "/api/v3",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            trust_env=False,
        )
        self._tokens: dict[tuple[str, str], str] = {}

    def __enter__(self) -> "_Seeder":
        return self

    def __exit__(self, *_: object) -> None:
        self._gateway.close()
        self._authentik.close()

    def run(self, data: dict[str, Any]) -> None:
        operator = (data["operators"][0]["username"], "operator")
        for price in data["prices"]:
            self._price(operator, price)
        for partner in data["partners"]:
            self._partner(operator, partner)
            for person in partner["people"]:
                self._invite(operator, f"/api/partners/{partner['slug']}/users", person)
        for tenant in data["tenants"]:
            partner = next(p for p in data["partners"] if p["slug"] == tenant["partner"])
            owner = (partner["people"][0]["username"], "portal")
            self._tenant(owner, tenant)
            for person in tenant.get("people", []):
                self._invite(owner, f"/api/tenants/{tenant['slug']}/users", person)

    def _partner(self, operator: tuple[str, str], partner: dict[str, Any]) -> None:
        today = datetime.now(UTC).date().isoformat()
        body = {
            "slug": partner["slug"],
            "name": partner["name"],
            "domain": partner["domain"],
            "contract": {
                "startsOn": today,
                "termMonths": 12,
                "margins": [{"since": today, "marginBps": _MARGIN_BPS}],
            },
        }
        if self._call(operator, "GET", f"/api/partners/{partner['slug']}").status_code == httpx.codes.NOT_FOUND:
            self._until_accepted(lambda: self._call(operator, "POST", "/api/partners", body))

    def _price(self, operator: tuple[str, str], price: dict[str, Any]) -> None:
        listed = self._call(operator, "GET", "/api/prices?limit=500")
        rows = listed.json()["items"] if listed.is_success else []
        if not any((row["plan"], row["cycle"]) == (price["plan"], price["cycle"]) for row in rows):
            self._until_accepted(lambda: self._call(operator, "POST", "/api/prices", price))

    def _tenant(self, owner: tuple[str, str], tenant: dict[str, Any]) -> None:
        body = {name: value for name, value in tenant.items() if name not in {"partner", "people"}}
        if self._call(owner, "GET", f"/api/tenants/{tenant['slug']}").status_code == httpx.codes.NOT_FOUND:
            self._until_accepted(lambda: self._call(owner, "POST", "/api/tenants", body))

    def _invite(self, caller: tuple[str, str], path: str, person: dict[str, str]) -> None:
        username = person["username"]

        def invited() -> bool:
            listed = self._call(caller, "GET", path)
            people = listed.json()["items"] if listed.is_success else []
            return any(member["email"] == username and member["status"] != "inviting" for member in people)

        if not invited():
            body = {"email": username, "name": person["name"], "role": person["role"]}
            self._until_accepted(lambda: self._call(caller, "POST", path, body))
        self._until(invited, f"{username} is not invited")
        self._give_passwords(username)

    def _give_passwords(self, username: str) -> None:
        known = self._credentials.people[username]
        user = self._at_authentik("GET", "/core/users/", params={"username": username}).json()["results"][0]
        self._at_authentik("POST", f"/core/users/{user['pk']}/set_password/", {"password": known.password})
        identifier = f"demo-{user['pk']}"
        tokens = self._at_authentik("GET", "/core/tokens/", params={"identifier": identifier}).json()["results"]
        if not tokens:
            token = {"identifier": identifier, "intent": "app_password", "user": user["pk"], "expiring": False}
            self._at_authentik("POST", "/core/tokens/", token)
        self._at_authentik("POST", f"/core/tokens/{identifier}/set_key/", {"key": known.app_password})

    def _call(
        self, caller: tuple[str, str], method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        token = self._tokens.get(caller) or fetch_token(self._place, self._credentials, *caller)
        self._tokens[caller] = token
        headers = {"Authorization": f"Bearer {token}"}
        if method == "POST":
            headers["Idempotency-Key"] = f"demo {path} {json.dumps(body, sort_keys=True)}"[:255]
        return self._gateway.request(method, path, headers=headers, json=body)

    def _at_authentik(self, method: str, path: str, body: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        answer = self._authentik.request(method, path, json=body, **more)
        if not answer.is_success:
            raise StartFailed(f"The identity provider answered {answer.status_code} to {method} {path}: {answer.text}")
        return answer

    def _until_accepted(self, call: Callable[[], httpx.Response]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (answer := call()).is_success:
            early = answer.status_code in _NOT_YET or answer.json().get("code") in _NOT_YET_CODES
            if not early or time.monotonic() > deadline:
                request = f"{answer.request.method} {answer.request.url.path}"
                raise StartFailed(f"The demo data was refused: {request} answered {answer.status_code} {answer.text}")
            time.sleep(_PAUSE_SECONDS)

    def _until(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise StartFailed(f"The demo data is incomplete: {problem}")
            time.sleep(_PAUSE_SECONDS)
