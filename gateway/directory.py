"""Who a verified token belongs to: the person with partner and tenants, from the tenant service's directory.

Answers are kept 30 seconds; up to 10 minutes while the gateway hears every change (``gateway.changes``). An answer that
was on its way while the person changed is not kept. Without the directory and without a fresh answer nobody
is let in: a guess would be worse than a 503.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson
import structlog
from pydantic import ValidationError

from gateway.authenticator import VerifiedToken
from gateway.identity import Caller, Credentials
from gateway.problems import ServiceUnavailable
from gateway.upstream import Upstream
from gateway.upstream_errors import UpstreamError
from shared import context
from shared.auth import Person

PLATFORM_ADMINS = "dezky-platform-admins"
FRESH_SECONDS = 30.0
FRESH_WHILE_LIVE_SECONDS = 600.0
DEADLINE_SECONDS = 2.0
CAPACITY = 20_000
_ATTEMPTS = 2
_REMEMBERED_CHANGES = 4_096

log = structlog.get_logger()

Key = tuple[str, str, str, tuple[str, ...], str | None, str | None]


class PersonDeactivated(Exception):
    """The person exists and may not come in."""


class Source(Protocol):
    """Where persons are looked up."""

    async def look_up(self, token: VerifiedToken) -> dict[str, Any]:
        """Return the person as JSON members, with ``active`` and ``version``.

        Raises:
            ServiceUnavailable: no answer.
        """
        ...


class TenantDirectory:
    """The directory as the tenant service serves it: ``POST /internal/principals``."""

    def __init__(self, upstream: Upstream, credentials: Credentials) -> None:
        self._upstream = upstream
        self._credentials = credentials

    async def look_up(self, token: VerifiedToken) -> dict[str, Any]:
        question = {
            "identityProvider": token.provider.identity_provider,
            "subject": token.subject,
            "email": token.email or "",
            "name": token.name or "",
            "groups": token.groups,
            # Not who, but from where: a first sign-in is recorded with both.
            "surface": token.provider.surface,
            "clientIp": context.current().client_ip or None,
        }
        fields = b"content-type: application/json\r\n" + self._credentials.of_gateway(self._upstream.name)
        fields += _about_request(context.current())
        try:
            answer = await self._upstream.document(
                "POST", "/internal/principals", fields=fields, body=orjson.dumps(question), timeout=DEADLINE_SECONDS
            )
        except UpstreamError as error:
            log.warning("directory.away", reason=type(error).__name__)
            raise _away() from error
        if answer.status not in {200, 201}:
            log.warning("directory.refused", status=answer.status)
            raise _away()
        try:
            members = orjson.loads(answer.body)
        except ValueError:
            members = None
        if not isinstance(members, dict):
            log.warning("directory.unreadable", reason="no JSON object")
            raise _away()
        return members


def _about_request(about: context.RequestContext) -> bytes:
    """Return the header lines that make what the directory does, a first sign-in, part of the request's trace."""
    lines = (("x-request-id", about.request_id), ("traceparent", about.traceparent))
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in lines if value)


def _away() -> ServiceUnavailable:
    return ServiceUnavailable("the directory of people is away", code="directory_unavailable", retry_after=2)


@dataclass(slots=True)
class _Entry:
    caller: Caller | None  # None: deactivated
    person_id: str
    fetched_at: float
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Change:
    person_id: str | None
    scopes: frozenset[str]

    def concerns(self, entry: _Entry) -> bool:
        return entry.person_id == self.person_id or not self.scopes.isdisjoint(entry.scopes)


class Directory:
    """Persons by token, each looked up once at a time however many requests ask.

    ``live`` says whether every change is heard at this moment; ``now`` is a monotonic clock in seconds.
    """

    def __init__(
        self, source: Source, *, now: Callable[[], float], live: Callable[[], bool], capacity: int = CAPACITY
    ) -> None:
        self._source = source
        self._now = now
        self._live = live
        self._capacity = capacity
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[_Entry]] = {}
        self._least: OrderedDict[str, int] = OrderedDict()
        self._recent: deque[_Change] = deque(maxlen=_REMEMBERED_CHANGES)
        self._changes = 0

    def known(self, token: VerifiedToken) -> Caller | None:
        """Return the caller if a fresh answer is at hand.

        Raises:
            PersonDeactivated
        """
        entry = self._entries.get(_key(token))
        if entry is None:
            return None
        if self._now() - entry.fetched_at >= (FRESH_WHILE_LIVE_SECONDS if self._live() else FRESH_SECONDS):
            return None
        return _admit(entry)

    async def caller(self, token: VerifiedToken) -> Caller:
        """Return the person behind ``token``.

        Raises:
            PersonDeactivated
            ServiceUnavailable: nothing fresh is known and the directory does not answer.
        """
        known = self.known(token)
        if known is not None:
            return known
        key = _key(token)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fetch(key, token), name="directory.fetch")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return _admit(await asyncio.shield(flight))

    def _landed(self, key: Key, flight: asyncio.Task[_Entry]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # whoever waited has got it; nobody may have waited to the end

    async def _fetch(self, key: Key, token: VerifiedToken) -> _Entry:
        for _ in range(_ATTEMPTS):
            heard = self._changes
            members = await self._source.look_up(token)
            person, active = _read(members, token)
            if person.version < self._least.get(person.id, 0):
                continue  # the change that we heard of overtook this answer
            entry = _Entry(Caller(person) if active else None, person.id, self._now(), _scopes(person))
            if not self._changed_since(heard, entry):
                self._keep(key, entry)
            return entry
        raise ServiceUnavailable("the directory lags behind", code="directory_unavailable", retry_after=1)

    def _changed_since(self, heard: int, entry: _Entry) -> bool:
        """Return whether a change that concerns ``entry`` was heard while its answer was on the way."""
        missed = self._changes - heard
        if missed > len(self._recent):
            return True
        return any(change.concerns(entry) for change in islice(reversed(self._recent), missed))

    def _keep(self, key: Key, entry: _Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    # -- told by gateway.changes

    def person_changed(self, person_id: str, version: int | None) -> None:
        """Forget a person; answers older than ``version`` are not accepted any more."""
        if version is not None:
            self._least[person_id] = max(version, self._least.pop(person_id, 0))
            while len(self._least) > self._capacity:
                self._least.popitem(last=False)
        self._forget(_Change(person_id, frozenset()))

    def scope_changed(self, scopes: Iterable[str]) -> None:
        """Forget everybody who belongs to one of ``tenant:<slug>`` or ``partner:<slug>``."""
        self._forget(_Change(None, frozenset(scopes)))

    def forget_all(self) -> None:
        """Forget everybody: changes may have been missed."""
        self._changes += len(self._recent) + 1  # more than is remembered: whatever is on its way is too old
        self._recent.clear()
        self._entries.clear()

    def _forget(self, change: _Change) -> None:
        self._changes += 1
        self._recent.append(change)
        for key in [key for key, entry in self._entries.items() if change.concerns(entry)]:
            del self._entries[key]

    async def close(self) -> None:
        """Abandon the look-ups under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _key(token: VerifiedToken) -> Key:
    provider = token.provider
    return (provider.identity_provider, token.subject, provider.surface, token.groups, token.email, token.name)


def _admit(entry: _Entry) -> Caller:
    if entry.caller is None:
        raise PersonDeactivated
    return entry.caller


def _read(members: dict[str, Any], token: VerifiedToken) -> tuple[Person, bool]:
    """Read an answer. Surface and groups are the token's word, not the directory's."""
    surface = token.provider.surface
    try:
        active = members["active"]
        if type(active) is not bool or type(members["version"]) is not int:
            raise TypeError("active and version are required")
        person = Person.model_validate(
            {
                **members,
                "surface": surface,
                "subject": token.subject,
                "groups": token.groups,
                "platformAdmin": PLATFORM_ADMINS in token.groups,
            }
        )
    except (ValidationError, KeyError, TypeError) as error:
        log.warning("directory.unreadable", reason=type(error).__name__)
        raise _away() from error
    return person, active


def _scopes(person: Person) -> frozenset[str]:
    scopes = {f"tenant:{slug}" for slug in person.tenants}
    if person.partner is not None:
        scopes.add(f"partner:{person.partner.slug}")
    return frozenset(scopes)
