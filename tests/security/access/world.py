"""Two partners with a tenant and people each, made through the gateway for these tests alone.

Everything that one side knows of itself carries a word of its own. Whoever reads the other side's word has been shown
too much, whatever the status of the answer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from infrastructure.local import lifecycle, seeds
from tests.security.access.table import Column, Role
from tests.support.fleet import Fleet

OPERATOR = "operator@dezky.local"
PATIENCE_SECONDS = 30.0
TOKEN_SECONDS = 200.0
_EARLY = frozenset({404, 409, 422, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Place:
    """What an operation may name: one side of the world, or one that does not exist.

    ``tenant_person`` and ``partner_person`` are people of it whom nobody signs in as.
    """

    tenant: str
    partner: str
    tenant_person: str
    partner_person: str
    word: str
    spare: str = ""


@dataclass
class World:
    """The people of both sides with their tokens, and the places that they act on."""

    fleet: Fleet
    client: httpx.Client
    identity: httpx.Client
    emails: dict[str, str] = field(default_factory=dict)
    own: Place = Place("", "", "", "", "")
    foreign: Place = Place("", "", "", "", "")
    missing: Place = Place("t-missing-0", "p-missing-0", "0" * 36, "0" * 36, "")
    price: str = ""
    flag: str = ""
    _tokens: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    # -- acting

    def call(self, person: str | None, surface: str, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request as ``person``; None sends no token."""
        headers = dict(kwargs.pop("headers", {}))
        if person is not None:
            headers["authorization"] = f"Bearer {self.token(person, surface)}"
        return self.client.request(method, path, headers=headers, **kwargs)

    def as_role(self, role: Role, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request as a role of the matrix."""
        return self.call(role.person, "operator" if role.operator_surface else "portal", method, path, **kwargs)

    def operator(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return self.call("operator", "operator", method, path, **kwargs)

    def token(self, person: str, surface: str) -> str:
        """Return an access token; that of the deactivated stays what it was before."""
        if person == "bad token":
            good = self.token("operator", "operator")
            return good[:-8] + ("A" * 8 if good[-8:] != "A" * 8 else "B" * 8)
        made, token = self._tokens.get((person, surface), (0.0, ""))
        fresh = time.monotonic() - made < TOKEN_SECONDS or person == "deactivated"
        if not (token and fresh):
            token = self._fetch(self.emails[person], surface)
            self._tokens[person, surface] = (time.monotonic(), token)
        return token

    def _fetch(self, email: str, surface: str) -> str:
        if email == OPERATOR:
            return self.fleet.token(email, surface)
        form = {
            "grant_type": "client_credentials",
            "client_id": seeds.client_id(surface),
            "username": email,
            "password": _app_password(email),
            "scope": "openid profile email",
        }
        answer = self.identity.post("/application/o/token/", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    # -- making

    def person(self, name: str, path: str, role: str, word: str, *, signs_in: bool = True) -> str:
        """Invite somebody; return the person's id. ``name`` is what tests call them by."""
        email = f"{name.replace(' ', '-')}.{secrets.token_hex(4)}.{word}@{word}.example"
        body = {"email": email, "name": f"{name.title()} {word}", "role": role}
        made = self.made("operator", "operator", "POST", path, json=body)
        if signs_in:
            self.emails[name] = email
            self._give_app_password(email)
        return str(made["userId"])

    def made(self, person: str, surface: str, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        """Repeat a request until it is accepted: what it builds on may still be on its way between services."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.call(person, surface, method, path, **kwargs)
            if answer.is_success:
                body: dict[str, Any] = answer.json() if answer.content else {}
                return body
            assert answer.status_code in _EARLY, f"{method} {path}: {answer.status_code} {answer.text}"
            assert time.monotonic() < deadline, f"{method} {path}: {answer.status_code} {answer.text}"
            time.sleep(0.05)

    def _give_app_password(self, email: str) -> None:
        def users() -> Any:
            return self.identity.get("/api/v3/core/users/", params={"username": email}).json()["results"]

        user = until(users)[0]
        identifier = f"test-{user['pk']}"
        token = {"identifier": identifier, "intent": "app_password", "user": user["pk"], "expiring": False}
        assert self.identity.post("/api/v3/core/tokens/", json=token).is_success
        key = {"key": _app_password(email)}
        assert self.identity.post(f"/api/v3/core/tokens/{identifier}/set_key/", json=key).is_success

    # -- looking

    def _pending(self, partner: str) -> bool:
        listed = self.operator("GET", f"/api/tenants?partner={partner}&status=pending").json()
        return bool(listed["items"])

    def photograph(self) -> dict[str, Any]:
        """Return all of the world as an operator sees it; what moves without a request is left out."""
        # A tenant that an earlier test made becomes active by itself; it must not move between two photographs.
        until(lambda: not any(self._pending(place.partner) for place in (self.own, self.foreign)))
        paths = [f"/api/prices/{self.price}", f"/api/flags/{self.flag}", "/api/flags", "/api/prices"]
        for place in (self.own, self.foreign):
            paths += [
                *(f"/api/tenants/{place.tenant}", f"/api/tenants/{place.tenant}/users"),
                *(f"/api/partners/{place.partner}", f"/api/partners/{place.partner}/users"),
                f"/api/users/{place.tenant_person}",
                f"/api/tenants?partner={place.partner}&limit=500",
            ]
        paths += [f"/api/tenants/{self.own.spare}", f"/api/partners?q={self.own.word}"]
        return {path: _still(self.operator("GET", path)) for path in paths}


def until(look: Callable[[], Any]) -> Any:
    """Return the first truthy answer of ``look``."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return seen


def _app_password(email: str) -> str:
    return f"app-password-of-{email}"


def _still(answer: httpx.Response) -> Any:
    document = answer.json()
    for gone in ("counts", "requestId"):  # the counts may be five seconds old
        document.pop(gone, None)
    for item in [document, *document.get("items", [])]:
        for gone in ("lastSeen", "pending", "provisioning", "customerCount"):  # what follows something else, later
            item.pop(gone, None)
    return answer.status_code, document


@contextmanager
def world_of(fleet: Fleet) -> Iterator[World]:
    """Make the world in a running fleet."""
    api_token = lifecycle.credentials_of(fleet.place).authentik[seeds.API_TOKEN]
    identity = httpx.Client(
        base_url=fleet.place.url(seeds.AUTHENTIK_OFFSET),
        headers={"authorization": f"Bearer {api_token}"},
        timeout=20,
        trust_env=False,
    )
    with identity, httpx.Client(base_url=fleet.gateway, timeout=30, trust_env=False) as client:
        world = World(fleet, client, identity, {"operator": OPERATOR})
        _populate(world)
        yield world


def _populate(world: World) -> None:
    here, there = (f"w{secrets.token_hex(5)}" for _ in range(2))
    for word in (here, there):
        _partner(world, word)
    world.price = _price(world, here)
    world.flag = str(_flag(world, here))
    own_owner = world.person("partner owner", f"/api/partners/p-{here}/users", "owner", here)
    world.person("foreign owner", f"/api/partners/p-{there}/users", "owner", there)
    world.person("partner staff", f"/api/partners/p-{here}/users", "staff", here)
    assert own_owner
    for person, word, slug in (
        ("partner owner", here, f"t-{here}"),
        ("partner owner", here, f"s-{here}"),
        ("foreign owner", there, f"t-{there}"),
    ):
        _tenant(world, person, word, slug)
    world.person("tenant admin", f"/api/tenants/t-{here}/users", "admin", here)
    world.person("tenant member", f"/api/tenants/t-{here}/users", "member", here)
    world.person("foreign admin", f"/api/tenants/t-{there}/users", "admin", there)
    gone = world.person("deactivated", f"/api/tenants/t-{here}/users", "admin", here)
    world.own = _place(world, here, spare=f"s-{here}")
    world.foreign = _place(world, there)
    _shut_out(world, gone)
    _settle(world)


def _place(world: World, word: str, spare: str = "") -> Place:
    tenant, partner = f"t-{word}", f"p-{word}"
    return Place(
        tenant,
        partner,
        world.person("bystander", f"/api/tenants/{tenant}/users", "member", word, signs_in=False),
        world.person("bystander", f"/api/partners/{partner}/users", "staff", word, signs_in=False),
        word,
        spare,
    )


def _partner(world: World, word: str) -> None:
    today = datetime.now(UTC).date().isoformat()
    body = {
        "slug": f"p-{word}",
        "name": f"Partner {word}",
        "contact": {"name": f"Contact {word}"},
        "contract": {"startsOn": today, "termMonths": 12, "margins": [{"since": today, "marginBps": 1_500}]},
    }
    world.made("operator", "operator", "POST", "/api/partners", json=body)


def _price(world: World, word: str) -> str:
    body = {"plan": f"plan-{word}", "cycle": "month", "amounts": {"EUR": 1_000}}
    return str(world.made("operator", "operator", "POST", "/api/prices", json=body)["id"])


def _flag(world: World, word: str) -> str:
    body = {"key": f"flag_{word}", "description": f"Flag {word}"}
    return str(world.made("operator", "operator", "POST", "/api/flags", json=body)["key"])


def _tenant(world: World, person: str, word: str, slug: str) -> None:
    body = {
        "slug": slug,
        "name": f"Tenant {word}",
        "plan": "business",
        "seats": 40,
        "domains": [{"name": f"{slug}.example"}],
        "billing": {"company": f"Company {word}"},
    }
    world.made(person, "portal", "POST", "/api/tenants", json=body)


def _shut_out(world: World, person: str) -> None:
    """Deactivate somebody who holds a good token, and wait until the gateway has heard of it.

    They are an admin, and only one who has come before counts as the admin who remains.
    """
    world.made("tenant admin", "portal", "GET", "/api/me")
    assert world.call("deactivated", "portal", "GET", "/api/me").status_code == 200
    world.made("operator", "operator", "POST", f"/api/users/{person}/deactivate")
    until(lambda: world.call("deactivated", "portal", "GET", "/api/me").status_code == 401)


def _settle(world: World) -> None:
    """Wait until every service has heard of both tenants, and everybody has signed in once."""
    for place in (world.own, world.foreign):
        for what in ("audit", "billing/summary"):
            world.made("operator", "operator", "GET", f"/api/tenants/{place.tenant}/{what}")
        body = {"tenantSlug": place.tenant}
        world.made("operator", "operator", "POST", "/api/flags/evaluate", json=body)
    paths = [f"/api/tenants/{slug}" for slug in (world.own.tenant, world.own.spare, world.foreign.tenant)]
    until(lambda: all(world.operator("GET", path).json()["status"] == "active" for path in paths))
    people: tuple[Column, ...] = ("operator", "partner owner", "partner staff", "tenant admin", "tenant member")
    for person in people:
        for surface in ("operator", "portal"):
            world.made(person, surface, "GET", "/api/me")
