"""What every chapter of the demo stands on: the people with their browsers, the backends, and how a step is checked."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from infrastructure.local.credentials import Credentials
from infrastructure.local.demo.backends import Backends
from infrastructure.local.demo.browser import Browser
from infrastructure.local.place import Place

PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""Between two looks into a backend: Stalwart lets one caller ask a thousand times a minute, the platform included."""


class StepFailed(Exception):
    """A step did not do what it promises."""


@dataclass
class Stage:
    """One run, with names of its own so that it can be repeated."""

    place: Place
    credentials: Credentials
    run: str = field(default_factory=lambda: secrets.token_hex(3))

    def __post_init__(self) -> None:
        self.partner = f"demo-partner-{self.run}"
        self.successor = f"demo-successor-{self.run}"
        self.tenant = f"demo-tenant-{self.run}"
        self.owner_email = f"owner@{self.partner}.example"
        self.successor_email = f"owner@{self.successor}.example"
        # The run is in the name, too: mail finds a mailbox by what stands before the @.
        self.admin_email = f"adam-{self.run}@{self.tenant}.example"
        self.member_email = f"jane-{self.run}@{self.tenant}.example"
        self.operator = self._browser("operator")
        self.owner, self.next_owner, self.admin, self.member = (self._browser("portal") for _ in range(4))
        self.member_id = self.member_password = ""
        self.backends = Backends(self.place, self.credentials)
        self._began = time.monotonic()
        self._step = 0

    def close(self) -> None:
        """Close every connection."""
        for closing in (self.operator, self.owner, self.next_owner, self.admin, self.member, self.backends):
            closing.close()

    # -- acting

    def expect(
        self, who: Browser, method: str, path: str, status: int, body: Any = None, /, **params: Any
    ) -> dict[str, Any]:
        """Send a request and return its answer's body; raises StepFailed unless it has the status."""
        answer = who.call(method, path, body, **params)
        self.check(answer.status_code == status, f"{method} {path} answered {answer.status_code}: {answer.text}")
        parsed: dict[str, Any] = answer.json()
        return parsed

    def refused(self, who: Browser, method: str, path: str, status: int, code: str, body: Any = None) -> None:
        """Send a request that must be refused with a status and a code."""
        problem = self.expect(who, method, path, status, body)
        self.check(problem.get("code") == code, f"{method} {path} was refused with {problem}")

    def invited(self, who: Browser, path: str, body: dict[str, str]) -> str:
        """Invite somebody and return the password to sign in with; where the answer got lost, ask for a new one."""
        answer: dict[str, Any] = {}

        def accepted() -> bool:
            reply = who.call("POST", path, body)
            answer.clear()
            answer.update(reply.json())
            # What was just created may still be on its way to the service that invites.
            return reply.status_code in {201, 202} or answer.get("code") == "already_a_member"

        self.eventually(accepted, f"the invitation of {body['email']} was not accepted: {answer}")
        if password := answer.get("tempPassword"):
            return str(password)
        return self._resent(who, path, body["email"])

    def _resent(self, who: Browser, path: str, email: str) -> str:
        def invited() -> dict[str, Any] | None:
            people = self.expect(who, "GET", path, 200)["items"]
            return next((p for p in people if p["email"] == email and p["status"] == "invited"), None)

        self.eventually(lambda: invited() is not None, f"{email} is not invited")
        person = invited()
        resent = self.expect(who, "POST", f"/api/users/{person['id'] if person else ''}/resend-invite", 201)
        return str(resent["tempPassword"])

    def _browser(self, surface: str) -> Browser:
        return Browser(self.place.url(0), surface)

    # -- looking

    def status(self) -> str:
        """The tenant's status, as operators see it."""
        return str(self.expect(self.operator, "GET", f"/api/tenants/{self.tenant}", 200)["status"])

    def member_may_use_suite(self) -> bool:
        """Whether the member signs in to the suite, seen from outside the platform."""
        return self.seen(lambda: self.backends.may_use_suite(self.member_email))

    def shuts_out_the_member(self) -> bool:
        """Whether the portal refuses the member: 403 with the reason, or 401 once their account is disabled."""
        return self.member.call("GET", f"/api/tenants/{self.tenant}").status_code in {401, 403}

    def let_the_member_in(self) -> None:
        """Wait until the member may use the suite, and sign in to the portal anew: the old session may be over."""
        self.eventually(self.member_may_use_suite, "the member is still refused")
        self.member.sign_in(self.member_email, self.member_password)
        self.expect(self.member, "GET", f"/api/tenants/{self.tenant}", 200)

    def seen(self, look: Callable[[], bool]) -> bool:
        """Look at a backend; one that is away for the moment has shown nothing."""
        try:
            return look()
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    # -- checking

    def check(self, holds: bool, otherwise: str) -> None:
        """Raises StepFailed unless something holds."""
        if not holds:
            raise StepFailed(otherwise)

    def eventually(
        self, condition: Callable[[], bool], otherwise: str | Callable[[], str], pause: float = _PAUSE_SECONDS
    ) -> None:
        """Return once a condition holds; raises StepFailed if it does not in time. ``pause`` is in seconds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                said = otherwise if isinstance(otherwise, str) else otherwise()
                raise StepFailed(f"{said} within {PATIENCE_SECONDS:.0f} s")
            time.sleep(pause)

    def done(self, what: str) -> None:
        """Print a step that held."""
        self._step += 1
        print(f"{self._step:>3}. {time.monotonic() - self._began:6.2f} s  {what}", flush=True)
