"""Tenants that live at random, and what is to be expected of them: by the answers alone that they got."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from shared.auth import Person
from shared.testing import Callers, operator, partner_person

CALLERS = Callers("tenant")
PARTNER = partner_person("nordic")
OPERATOR = operator()
PATIENCE_SECONDS = 600.0
AGAIN = frozenset({500, 502, 503, 504})
AGAIN_CODE = "idempotency_in_progress"


@dataclass(frozen=True)
class Habits:
    """How long a life is.

    Attributes:
        decisions: at least and at most. pause: before each, at most.
        working: seconds to wait for a tenant to become active before it is suspended.
    """

    decisions: tuple[int, int] = (4, 10)
    pause: float = 0.6
    working: float = 20.0


@dataclass
class Expected:
    """A tenant as the answers say that it is. ``status`` is the API's, but that ``open`` is pending or active."""

    slug: str
    name: str
    seats: int
    domains: tuple[str, ...]
    status: str = "open"
    members: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


class Caller:
    """A careful client: it repeats under the same key until it has an answer, through kills and restarts."""

    def __init__(self, http: httpx.AsyncClient, said: Counter[str]) -> None:
        self.http = http
        self.said = said

    async def send(
        self, method: str, path: str, who: Person, body: Any = None, **headers: str
    ) -> tuple[httpx.Response, bool]:
        """Return the answer, and whether an earlier attempt may have had its effect without one."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        more: dict[str, Any] = {} if body is None else {"json": body}
        unsure = False
        while True:
            try:
                answer = await self.http.request(method, path, headers=CALLERS.headers(who, **headers), **more)
                if answer.status_code not in AGAIN and code_of(answer) != AGAIN_CODE:
                    return answer, unsure
            except httpx.TransportError:
                answer = None
            unsure = True
            self.said["repeated requests"] += 1
            said = "no answer" if answer is None else answer.text
            assert asyncio.get_running_loop().time() < deadline, f"{method} {path}: {said}"
            await asyncio.sleep(0.25)

    async def read(self, path: str) -> dict[str, Any]:
        answer, _ = await self.send("GET", path, OPERATOR)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def code_of(answer: httpx.Response) -> str:
    """Return the code of a problem document, empty for any other answer."""
    if answer.headers.get("content-type") != "application/problem+json":
        return ""
    return str(answer.json()["code"])


class Life:
    """One tenant from its creation to wherever chance leads. Nobody else changes it but the platform."""

    def __init__(self, caller: Caller, random: Random, number: int, guests: tuple[str, ...], habits: Habits) -> None:
        self._caller = caller
        self._habits = habits
        self._random = random
        self._guests = guests
        self._keys = 0
        self._ids: dict[str, str] = {}
        self._open: dict[str, str] = {}
        slug = f"t{number}-{random.randrange(16**6):06x}"
        self.is_now = Expected(slug, f"Tenant {number}", random.randint(4, 20), (f"{slug}.example",))

    @property
    def path(self) -> str:
        return f"/api/tenants/{self.is_now.slug}"

    async def run(self) -> None:
        await self._create()
        await self._invite(f"admin@{self.is_now.domains[0]}", "admin")
        for _ in range(self._random.randint(*self._habits.decisions)):
            await asyncio.sleep(self._random.uniform(0, self._habits.pause))
            await self._random.choice(self._possible())()
            await self.settle(wait=False)
        if self._random.random() < 0.45:
            await self._delete()

    def _possible(self) -> list[Any]:
        if self.is_now.status == "suspended":
            return [self._resume, self._resume, self._change, *([self._remove] if self.is_now.members else [])]
        if self.is_now.status == "deleted":
            return [self._nothing]
        if not self.is_now.members:
            return [self._invite_somebody, self._change]
        often = [self._invite_somebody, self._invite_somebody, self._change, self._change, self._remove, self._promote]
        return [*often, self._suspend, self._suspend, self._delete_and_regret]

    async def _nothing(self) -> None:
        return

    # -- what somebody decides

    async def _create(self) -> None:
        now = self.is_now
        domains = [{"name": now.domains[0], "primary": True}]
        body = {"slug": now.slug, "name": now.name, "plan": "business", "seats": now.seats, "domains": domains}
        answer, _ = await self._caller.send("POST", "/api/tenants", PARTNER, body, idempotency_key=self._key())
        assert answer.status_code == 201, answer.text
        self._count("created")

    async def _change(self) -> None:
        taken = len(self.is_now.members)
        extra = f"extra-{self.is_now.domains[0]}"
        change = self._random.choice(("name", "seats", "domains"))
        if change == "name":
            await self._patch({"name": f"Renamed {self._random.randrange(1_000)}"})
        elif change == "seats":
            await self._patch({"seats": self._random.randint(max(2, taken - 1), 25)})
        else:
            names = self.is_now.domains[:1] if extra in self.is_now.domains else (*self.is_now.domains, extra)
            await self._patch({"domains": [{"name": name, "primary": name != extra} for name in names]})

    async def _patch(self, body: Mapping[str, Any]) -> None:
        """Change something of the version that was read; what a lost answer left open is decided by reading again."""
        sent = False
        while True:
            seen = await self._caller.read(self.path)
            if sent and all(seen[name] == value for name, value in body.items()):
                break
            if_match = f'"{seen["version"]}"'
            answer, unsure = await self._caller.send("PATCH", self.path, PARTNER, dict(body), if_match=if_match)
            sent = sent or unsure
            if answer.status_code == 200:
                break
            if answer.status_code == 409:
                assert code_of(answer) == "seats_in_use", answer.text
                return self._count("refused: too few seats")
            assert answer.status_code == 412, answer.text
        for name, value in body.items():
            setattr(self.is_now, name, tuple(d["name"] for d in value) if name == "domains" else value)
        return self._count("changed")

    async def _invite_somebody(self) -> None:
        own = [f"{name}@{self.is_now.domains[0]}" for name in ("anna", "bo", "cleo", "dan", "eva")]
        free = [email for email in (*own, *self._guests) if email not in self._open]
        await self._invite(self._random.choice(free), self._random.choice(("member", "member", "admin")))

    async def _invite(self, email: str, role: str) -> None:
        body = {"email": email, "name": email.partition("@")[0].title(), "role": role}
        answer, _ = await self._caller.send("POST", f"{self.path}/users", PARTNER, body, idempotency_key=self._key())
        if answer.status_code == 409:
            self._check_refusal(email, answer)
            return
        assert answer.status_code in {201, 202}, answer.text
        self._ids[email] = answer.json()["userId"]
        if answer.status_code == 202:
            self._open[email] = role
        else:
            self._joined(email, role)

    def _joined(self, email: str, role: str) -> None:
        self.is_now.members[email] = role
        self.is_now.removed.discard(email)
        self._count("invited")

    async def settle(self, *, wait: bool) -> None:
        """Ask what became of invitations that were accepted only; with ``wait`` until it is known of all."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self._open and self.is_now.status != "deleted":
            for email, role in list(self._open.items()):
                person = await self._caller.read(f"/api/users/{self._ids[email]}")
                if person["pending"] is None:
                    del self._open[email]
                    if self.is_now.slug in person["tenants"]:
                        self._joined(email, role)
                    else:
                        # Somebody who was known already loses the offer when the identity provider stands against it.
                        assert email in self._guests, f"{email} was accepted, and is {person}"
                        self._count("offers lost")
            if not wait:
                return
            assert asyncio.get_running_loop().time() < deadline, f"invitations go on for ever: {self._open}"
            await asyncio.sleep(0.25)

    def _check_refusal(self, email: str, answer: httpx.Response) -> None:
        code = code_of(answer)
        self._count(f"refused: {code}")
        if code == "already_a_member":
            assert email in self.is_now.members, answer.text
        elif code in {"identity_conflict", "invite_in_progress"}:
            # A guest is invited elsewhere at this moment, and waits for better weather.
            # Or a guest whose last tenant is being erased has no account any more, and is not forgotten yet.
            assert email in self._guests, answer.text
        else:
            assert code == "seat_limit_reached" or self.is_now.status != "open", answer.text

    async def _remove(self) -> None:
        email = self._random.choice(list(self.is_now.members))
        answer, unsure = await self._caller.send("DELETE", f"{self.path}/users/{self._ids[email]}", PARTNER)
        if answer.status_code == 409:
            assert code_of(answer) == "last_admin", answer.text
            return self._count("refused: last admin")
        assert answer.status_code == 204 or (unsure and answer.status_code == 404), answer.text
        del self.is_now.members[email]
        self.is_now.removed.add(email)
        return self._count("removed")

    async def _promote(self) -> None:
        email = self._random.choice(list(self.is_now.members))
        role = "member" if self.is_now.members[email] == "admin" else "admin"
        answer, _ = await self._caller.send("PATCH", f"{self.path}/users/{self._ids[email]}", PARTNER, {"role": role})
        if answer.status_code == 409:
            assert code_of(answer) == "last_admin", answer.text
            return self._count("refused: last admin")
        assert answer.status_code == 200, answer.text
        self.is_now.members[email] = role
        return self._count("changed of role")

    async def _suspend(self) -> None:
        # A tenant that is not active yet cannot be suspended, and becomes active only in a lull of the weather.
        await self._wait_until_active()
        if await self._decide("suspend", {"reason": "unpaid"}):
            self.is_now.status = "suspended"
            self._count("suspended")

    async def _resume(self) -> None:
        if await self._decide("resume"):
            self.is_now.status = "open"
            self._count("resumed")

    async def _decide(self, verb: str, body: Any = None) -> bool:
        answer, _ = await self._caller.send("POST", f"{self.path}/{verb}", OPERATOR, body, idempotency_key=self._key())
        if answer.status_code == 409:
            assert code_of(answer) in {"wrong_status", "restore_too_late"}, answer.text
            self._count(f"refused: {verb}")
            return False
        assert answer.status_code == 200, answer.text
        return True

    async def _delete(self) -> str:
        if self.is_now.status == "deleted":
            return "deleted"
        before = self.is_now.status
        answer, _ = await self._caller.send("DELETE", self.path, OPERATOR, idempotency_key=self._key())
        assert answer.status_code == 202, answer.text
        self.is_now.status = "deleted"
        self._count("deleted")
        return before

    async def _delete_and_regret(self) -> None:
        before = await self._delete()
        if await self._decide("restore"):
            self.is_now.status = before
            self._count("restored")

    async def _wait_until_active(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._habits.working
        while asyncio.get_running_loop().time() < deadline:
            if (await self._caller.read(self.path))["status"] == "active":
                return
            await asyncio.sleep(0.5)

    def _key(self) -> str:
        self._keys += 1
        return f"{self.is_now.slug}-{self._keys}"

    def _count(self, what: str) -> None:
        self._caller.said[what] += 1
