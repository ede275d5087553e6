"""Who calls: Basic with an address and a password, or Bearer with an API key."""

import base64
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from starlette.requests import Request

from infrastructure.sandbox.stalwart.accounts import Accounts, password_of
from infrastructure.sandbox.stalwart.errors import RequestError, Unauthenticated
from infrastructure.sandbox.stalwart.limits import Rate
from infrastructure.sandbox.stalwart.objects import Objects, Stored
from infrastructure.sandbox.stalwart.passwords import verify
from infrastructure.sandbox.stalwart.permissions import Allowance, of_api_key
from infrastructure.sandbox.stalwart.seed import Seed
from infrastructure.sandbox.stalwart.webhooks import Events


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted account. `tenant` None sees everything that its allowance lets it see."""

    account: Stored
    address: str
    allowance: Allowance

    @property
    def tenant(self) -> int | None:
        return self.account.tenant


class Callers:
    """Admits callers, at most so many times a minute. Every Basic sign-in and every refusal raises an event."""

    def __init__(self, objects: Objects, accounts: Accounts, events: Events, seed: Seed) -> None:
        self._objects = objects
        self._accounts = accounts
        self._events = events
        self._seed = seed
        self._known = Rate(seed.limits.authenticated_per_minute)
        self._unknown = Rate(seed.limits.anonymous_per_minute)

    def admit_anonymous(self, request: Request) -> None:
        """Counts the request. Raises Throttled."""
        self._unknown.take(_address_of(request))

    def admit(self, request: Request) -> Caller:
        """Raises RequestError: 401 for wrong credentials, 403 without `authenticate`, 429 for too many requests."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "basic":
                caller = self._basic(request, credentials)
            case "bearer":
                caller = self._bearer(credentials)
            case _:
                caller = None
        if caller is None:
            self._unknown.take(_address_of(request))
            raise Unauthenticated
        if not caller.allowance.allows("authenticate"):
            raise RequestError(403, "You do not have permission to authenticate.")
        self._known.take(caller.account.id)
        return caller

    def _basic(self, request: Request, credentials: str) -> Caller | None:
        try:
            name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        account = self._accounts.with_address(name)
        if name.lower() == self._seed.admin_user:
            secret = self._seed.admin_secret.get_secret_value()
            right = hmac.compare_digest(password.encode(), secret.encode())
        else:
            right = verify(password, password_of(account.body) if account else None)
        origin = {"accountName": name, "remoteIp": _address_of(request)}
        if account is None or not right:
            self._events.raise_event("auth.failed", origin)
            return None
        caller = self._caller(account)
        if caller.allowance.allows("authenticate"):
            self._events.raise_event("auth.success", {**origin, "accountId": account.id})
        return caller

    def _bearer(self, key: str) -> Caller | None:
        if hmac.compare_digest(key.encode(), self._seed.api_key.get_secret_value().encode()):
            administrator = self._objects.find("Account", self._objects.installed("administrator"))
            return self._caller(administrator) if administrator else None
        stored = self._objects.find("ApiKey", self._objects.holder("ApiKey", digest(key)))
        account = self._objects.find("Account", stored.owner) if stored else None
        if stored is None or account is None:
            return None
        expires = stored.body["expiresAt"]
        if expires is not None and datetime.fromisoformat(expires) <= datetime.now(UTC):
            return None
        caller = self._caller(account)
        return Caller(account, caller.address, of_api_key(caller.allowance, stored.body))

    def _caller(self, account: Stored) -> Caller:
        return Caller(account, self._accounts.address(account), self._accounts.allowance(account))


def digest(key: str) -> str:
    """API keys are generated, so that a plain hash is enough."""
    return sha256(key.encode()).hexdigest()


def _address_of(request: Request) -> str:
    return request.client.host if request.client else ""
