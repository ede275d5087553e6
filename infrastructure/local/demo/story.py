"""The main job: from an operator's sign-in to a verified log, each step printed and checked."""

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from infrastructure.local import lifecycle, seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.demo.backends import Backends
from infrastructure.local.demo.browser import Browser
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place

SEATS = 25
PLAN = "business"
FLAG = "oci_versioning"
_PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.1


class StepFailed(Exception):
    """A step did not do what it promises."""


@dataclass
class Story:
    """One run, with names of its own so that it can be repeated."""

    place: Place
    credentials: Credentials
    run: str = field(default_factory=lambda: secrets.token_hex(3))

    def __post_init__(self) -> None:
        gateway = self.place.url(0)
        self.partner = f"demo-partner-{self.run}"
        self.tenant = f"demo-tenant-{self.run}"
        self.owner_email = f"owner@{self.partner}.example"
        self.member_email = f"jane@{self.tenant}.example"
        self.operator = Browser(gateway, "operator")
        self.owner = Browser(gateway, "portal")
        self.backends = Backends(self.place, self.credentials)
        self._began = time.monotonic()
        self._step = 0

    def tell(self) -> None:
        """Run every step; raises StepFailed at the first that fails."""
        try:
            self._sell()
            self._provision()
            self._bill()
            self._suspend_and_resume()
            self._flag()
            self._audit()
        finally:
            for closing in (self.operator, self.owner, self.backends):
                closing.close()

    def _sell(self) -> None:
        username = seeds.demo_data()["operators"][0]["username"]
        self.operator.sign_in(username, self.credentials.people[username].password)
        self._done("the operator signs in through the login page")
        body = {"slug": self.partner, "name": f"Demo Partner {self.run}", "domain": f"{self.partner}.example"}
        self._expect(self.operator, "POST", "/api/partners", 201, {**body, "contract": _contract()})
        self._done(f"the operator creates the partner {self.partner}")
        invite = {"email": self.owner_email, "name": "Demo Owner"}
        path = f"/api/partners/{self.partner}/users"
        password = self._invited(self.operator, path, invite)
        self._done(f"the operator invites its owner {self.owner_email}; the password is shown once")
        self.owner.sign_in(self.owner_email, password)
        self._done("the owner signs in through the login page")
        tenant = {
            "slug": self.tenant,
            "name": f"Demo Tenant {self.run}",
            "plan": PLAN,
            "seats": SEATS,
            "domains": [{"name": f"{self.tenant}.example", "primary": True}],
        }
        created = self._expect(self.owner, "POST", "/api/tenants", 201, tenant)
        self._check(created["partner"] == self.partner, "the tenant belongs to the owner's partner")
        self._done(f"the owner creates the tenant {self.tenant} with {SEATS} seats on the plan {PLAN}")

    def _provision(self) -> None:
        self._eventually(self._is_active, "the tenant is not active")
        self._done("provisioning reaches active")
        held: dict[str, bool] = {}

        def holds() -> bool:
            held.update(self.backends.held(self.tenant))
            return all(held.values())

        self._eventually(lambda: self._seen(holds), f"the backends hold {held}")
        self._done(f"the backends really hold it: {', '.join(held)}")
        member = {"email": self.member_email, "name": "Jane Member", "role": "member"}
        self._invited(self.owner, f"/api/tenants/{self.tenant}/users", member)
        self._eventually(self._member_may_sign_in, "the member cannot use the suite")
        self._done(f"the member {self.member_email} is invited and signs in to the suite")

    def _bill(self) -> None:
        found: dict[str, Any] = {}

        def subscribed() -> bool:
            answer = self.owner.call("GET", f"/api/tenants/{self.tenant}/billing/summary")
            found.update(answer.json().get("subscription", {}))
            return answer.is_success

        self._eventually(subscribed, "there is no subscription")
        prices = self._expect(self.owner, "GET", "/api/prices", 200)["items"]
        per_seat = next(
            p["amounts"]["EUR"] for p in prices if (p["plan"], p["cycle"], p["archived"]) == (PLAN, "month", False)
        )
        self._check(found["perSeat"] == per_seat and found["mrr"] == per_seat * SEATS, f"the subscription is {found}")
        self._done(f"billing shows the subscription: {found['mrr'] / 100:.2f} {found['currency']} a month")

    def _suspend_and_resume(self) -> None:
        path = f"/api/tenants/{self.tenant}"
        self._expect(self.operator, "POST", f"{path}/suspend", 200, {"reason": "demo"})
        self._eventually(lambda: not self._member_may_sign_in(), "the member still uses the suite")
        self._done("the operator suspends, and the suite refuses the member's sign-in")
        self._expect(self.operator, "POST", f"{path}/resume", 200)
        self._eventually(self._member_may_sign_in, "the member is still refused")
        self._done("the operator resumes, and the member signs in again")

    def _flag(self) -> None:
        path = f"/api/flags/{FLAG}"
        rolled = self._expect(self.operator, "PATCH", path, 200, {"state": "rollout", "pct": 25, "note": "demo"})
        self._check((rolled["state"], rolled["pct"]) == ("rollout", 25), f"the flag is {rolled}")
        preview = self._expect(self.operator, "GET", f"{path}/preview", 200)
        self._done(f"the flag {FLAG} goes to 25 %: {preview['matched']} of {preview['total']} tenants")
        back = self._expect(self.operator, "PATCH", path, 200, {"state": "off", "pct": 0, "note": "demo over"})
        self._check((back["state"], back["pct"]) == ("off", 0), f"the flag is {back}")
        self._done("and back to off")

    def _audit(self) -> None:
        wanted = {
            "partner.created",
            "platform.user_invited",
            "tenant.created",
            "tenant.activated",
            "tenant.suspended",
            "tenant.resumed",
            "subscription.started",
        }

        def told() -> bool:
            return wanted | {"flag.updated"} <= self._actions()

        self._eventually(told, "the log lacks steps")
        self._done(f"the log tells every step: {len(self._entries())} entries of this run")
        verified = self._expect(self.operator, "GET", "/api/audit/verify", 200)
        self._check(verified["ok"] is True and not verified["findings"], f"verification says {verified}")
        self._done(f"the chain verifies: {verified['verified']} entries")

    def _entries(self) -> list[dict[str, Any]]:
        scopes: list[dict[str, str]] = [{"tenantSlug": self.tenant}, {"partnerSlug": self.partner}]
        found: dict[int, dict[str, Any]] = {}
        for scope in scopes:
            for entry in self._expect(self.operator, "GET", "/api/audit", 200, **scope)["items"]:
                found[entry["seq"]] = entry
        return list(found.values())

    def _actions(self) -> set[str]:
        flags = self._expect(self.operator, "GET", "/api/audit", 200, action="flag.updated", limit=10)["items"]
        mine = [entry for entry in flags if entry["resourceId"] == FLAG]
        partner = self._expect(self.operator, "GET", "/api/audit", 200, action="partner.created", limit=20)["items"]
        own = [entry for entry in partner if entry["resourceId"] == self.partner]
        return {entry["action"] for entry in [*self._entries(), *mine, *own]}

    def _is_active(self) -> bool:
        answer = self.owner.call("GET", f"/api/tenants/{self.tenant}")
        return answer.is_success and bool(answer.json()["status"] == "active")

    def _member_may_sign_in(self) -> bool:
        return self._seen(lambda: self.backends.may_use_suite(self.member_email))

    def _seen(self, look: Callable[[], bool]) -> bool:
        """Look at a backend; one that is away for the moment has shown nothing."""
        try:
            return look()
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    def _invited(self, who: Browser, path: str, body: dict[str, str]) -> str:
        """Invite somebody and return the password to sign in with; where the answer got lost, ask for a new one."""
        answer: dict[str, Any] = {}

        def accepted() -> bool:
            reply = who.call("POST", path, body)
            answer.clear()
            answer.update(reply.json())
            # What was just created may still be on its way to the service that invites.
            return reply.status_code in {201, 202} or answer.get("code") == "already_a_member"

        self._eventually(accepted, f"the invitation of {body['email']} was not accepted: {answer}")
        if password := answer.get("tempPassword"):
            return str(password)
        return self._resent(who, path, body["email"])

    def _resent(self, who: Browser, path: str, email: str) -> str:
        def invited() -> dict[str, Any] | None:
            people = self._expect(who, "GET", path, 200)["items"]
            return next((p for p in people if p["email"] == email and p["status"] == "invited"), None)

        self._eventually(lambda: invited() is not None, f"{email} is not invited")
        person = invited()
        resent = self._expect(who, "POST", f"/api/users/{person['id'] if person else ''}/resend-invite", 200)
        return str(resent["tempPassword"])

    def _expect(
        self, who: Browser, method: str, path: str, status: int, body: Any = None, **params: Any
    ) -> dict[str, Any]:
        answer = who.call(method, path, body, **params)
        self._check(answer.status_code == status, f"{method} {path} answered {answer.status_code}: {answer.text}")
        parsed: dict[str, Any] = answer.json()
        return parsed

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StepFailed(otherwise)

    def _eventually(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            self._check(time.monotonic() < deadline, f"{otherwise} within {_PATIENCE_SECONDS:.0f} s")
            time.sleep(_PAUSE_SECONDS)

    def _done(self, what: str) -> None:
        self._step += 1
        print(f"{self._step:>3}. {time.monotonic() - self._began:6.2f} s  {what}", flush=True)


def _contract() -> dict[str, Any]:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return {"startsOn": today, "termMonths": 12, "margins": [{"since": today, "marginBps": 2_000}]}


def main() -> int:
    """Tell the story on the fleet that runs; 0 if every step held, 1 if one did not, 2 without a fleet."""
    try:
        place = Place.from_environment()
        if lifecycle.running(place) is None:
            raise Obstacle("The fleet is not running", "Run `make up` first")
        story = Story(place, lifecycle.credentials_of(place))
        story.tell()
    except Obstacle as obstacle:
        print(obstacle, file=sys.stderr)
        return 2
    except (StepFailed, AssertionError) as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    print("Every step held.")
    return 0
