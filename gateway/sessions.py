"""Browser sessions of one surface: from a cookie to an access token that is good now.

Tokens stay here. A session ends at the idle limit (the bucket drops it), at the absolute limit, when somebody ends it,
or when the provider does not renew its tokens. Refresh tokens rotate, so of all processes one at a time may renew: it
claims the session by compare-and-swap before it asks the provider, and the others wait for what it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.claims import SKEW_SECONDS
from gateway.oidc import GrantRefused, OidcClient
from gateway.problems import ServiceUnavailable
from gateway.provider_tokens import Logout, ProviderTokens
from gateway.session_events import SessionEvents
from gateway.session_store import Claim, Ending, Record, SessionStore, Stored
from gateway.token_errors import KeysUnavailable, TokenError
from shared.bucket import KeyChanged
from shared.bus import BusUnavailable
from shared.clock import Clock
from shared.contracts.session import EndReason
from shared.ids import new_id
from shared.topology import SESSION_LASTS

ABSOLUTE_SECONDS: Final = SESSION_LASTS.total_seconds()
TOUCH_SECONDS: Final = 60.0
RENEW_BEFORE_SECONDS: Final = 10.0
"""Before an access token expires; the authenticator's skew of 30 s lies beyond it."""
_CLAIM_SECONDS = 15.0  # longer than the provider's deadline and the storing after it
_STORE_SECONDS = 8.0
_WAIT_SECONDS = 8.0
_POLL_SECONDS = 0.025
_ATTEMPTS = 10

log = structlog.get_logger()


class SessionOver(Exception):
    """There is no such session, or none any more."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a session ends, and in whose request."""

    reason: EndReason
    address: str | None = None
    request_id: str | None = None


class Sessions:
    """The sessions of one surface. Every method raises ``BusUnavailable`` when NATS is away."""

    def __init__(
        self, store: SessionStore, events: SessionEvents, client: OidcClient, tokens: ProviderTokens, clock: Clock
    ) -> None:
        self._store = store
        self._events = events
        self._client = client
        self._tokens = tokens
        self._clock = clock
        self._flights: dict[str, asyncio.Task[Stored]] = {}

    async def begin(self, record: Record, address: str, request_id: str) -> str:
        """Store a new session, publish that it has begun, and return the value of its cookie.

        If the publishing fails nobody gets the cookie, so the stored session opens nothing.
        """
        cookie = await self._store.create(record)
        await self._events.started(record, address, request_id)
        return cookie

    async def look(self, cookie: bytes) -> Record | None:
        """Return the session without using it: neither is the idle limit put off nor a token renewed."""
        stored = await self._stored(cookie)
        if stored is None or stored.record.ending is not None or self._now() >= stored.record.ends_at:
            return None
        return stored.record

    async def access_token(self, cookie: bytes) -> bytes:
        """Return an access token of the session, renewed if it was about to expire.

        Raises:
            SessionOver
            ServiceUnavailable: the provider has to renew the token and does not answer.
        """
        stored = await self._stored(cookie)
        if stored is None:
            raise SessionOver
        if stored.record.ending is not None or self._now() >= stored.record.ends_at:
            await self._end(stored, Cause("expired"))
            raise SessionOver
        if self._is_due(stored.record):
            stored = await self._renewed(stored)
        elif self._now() - stored.record.touched_at >= TOUCH_SECONDS:
            with contextlib.suppress(KeyChanged):  # whoever was faster has put off the idle limit, too
                await self._store.write(stored, touched_at=self._now())
        return stored.record.access_token.encode()

    async def end(self, cookie: bytes, cause: Cause) -> str | None:
        """End the session of a cookie, if there is one; return its ID token."""
        stored = await self._stored(cookie)
        if stored is None:
            return None
        await self._end(stored, cause)
        return stored.record.id_token

    async def end_all(self, asked: Logout, cause: Cause) -> int:
        """End the sessions that ``asked`` names and that had begun when it was issued; return how many."""
        ended = 0
        async for stored in self._store.find(asked.subject, asked.provider_session):
            if stored.record.started_at <= asked.issued_at + SKEW_SECONDS:
                ended += await self._end(stored, cause)
        return ended

    async def known(self, kind: str, value: str) -> bool:
        """Return whether ``first_time`` has seen ``value``."""
        return await self._store.known(kind, value)

    async def first_time(self, kind: str, value: str) -> bool:
        """Return True once for each ``value``, in all processes together, until the idle limit has passed."""
        return await self._store.first_time(kind, value)

    async def close(self) -> None:
        """Let the renewals under way come to their end: their refresh tokens are used up already."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _stored(self, cookie: bytes) -> Stored | None:
        key = self._store.locate(cookie)
        return await self._store.read(key) if key is not None else None

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _is_due(self, record: Record) -> bool:
        return self._now() >= record.access_expires_at - RENEW_BEFORE_SECONDS

    # -- renewing

    async def _renewed(self, stored: Stored) -> Stored:
        flight = self._flights.get(stored.key)
        if flight is None:
            flight = asyncio.create_task(self._renew(stored), name="session.renew")
            self._flights[stored.key] = flight
            flight.add_done_callback(lambda done: self._landed(stored.key, done))
        # A browser that leaves must not take the new tokens with it.
        return await asyncio.shield(flight)

    def _landed(self, key: str, flight: asyncio.Task[Stored]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # whoever waited has got it; nobody may have waited to the end

    async def _renew(self, stored: Stored) -> Stored:
        give_up_at = asyncio.get_running_loop().time() + _WAIT_SECONDS
        while self._is_due(stored.record):
            claim = stored.record.renewing
            if claim is None or self._now() >= claim.until:
                mine = Claim(by=new_id(), until=self._now() + _CLAIM_SECONDS)
                try:
                    claimed = await self._store.write(stored, renewing=mine, touched_at=self._now())
                    return await self._ask_provider(claimed)
                except KeyChanged:
                    pass  # somebody was faster
            elif asyncio.get_running_loop().time() > give_up_at:
                raise ServiceUnavailable("the session is being renewed", code="session_busy", retry_after=1)
            else:
                await asyncio.sleep(_POLL_SECONDS)
            stored = await self._reread(stored)
        return stored

    async def _ask_provider(self, claimed: Stored) -> Stored:
        record = claimed.record
        changes: dict[str, Any] = {}
        try:
            if record.refresh_token is None:
                raise GrantRefused
            answer = await self._client.renew(record.refresh_token)
            # RFC 6749 §6: without a new one the old one goes on counting.
            changes["refresh_token"] = answer.refresh_token or record.refresh_token
            verified = await self._tokens.access(answer.access_token)
            if verified.subject != record.subject:
                raise TokenError("The renewed token speaks of somebody else")
            changes |= {"access_token": answer.access_token, "access_expires_at": verified.expires_at}
        except (GrantRefused, TokenError):
            await self._end(claimed, Cause("provider_refused"))
            raise SessionOver from None
        except KeysUnavailable as fault:
            await self._settle(claimed, changes)
            raise ServiceUnavailable(str(fault), code=fault.code, retry_after=fault.retry_after) from fault
        except ServiceUnavailable:
            await self._settle(claimed, changes)
            raise
        return await self._settle(claimed, changes)

    async def _settle(self, claimed: Stored, changes: dict[str, Any]) -> Stored:
        """Write the outcome and give up the claim, for as long as the claim is ours; a NATS that blinks is waited for.

        The old refresh token is used up: what is not stored here signs the person out.
        """
        give_up_at = asyncio.get_running_loop().time() + _STORE_SECONDS
        stored = claimed
        while True:
            try:
                return await self._store.write(stored, **changes, renewing=None)
            except KeyChanged:
                stored = await self._reread(stored)
                if stored.record.renewing != claimed.record.renewing:
                    return stored
            except BusUnavailable:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                await asyncio.sleep(10 * _POLL_SECONDS)

    async def _reread(self, stored: Stored) -> Stored:
        found = await self._store.read(stored.key)
        if found is None or found.record.ending is not None:
            raise SessionOver
        return found

    # -- ending

    async def _end(self, stored: Stored, cause: Cause) -> bool:
        """Make a session count no more, publish that, delete it: whoever finds it half ended goes on from there."""
        found: Stored | None = stored
        for _ in range(_ATTEMPTS):
            if found is None:
                return False
            try:
                ending = found.record.ending or self._ending(cause)
                if found.record.ending is None:
                    found = await self._store.write(found, ending=ending, access_token="", refresh_token=None)
                await self._events.ended(found.record, ending)
                await self._store.delete(found)
                log.info("session.ended", session=found.record.id, reason=ending.reason)
                return True
            except KeyChanged:
                found = await self._store.read(found.key)
        raise ServiceUnavailable("the session is in use", code="session_busy", retry_after=1)

    def _ending(self, cause: Cause) -> Ending:
        return Ending(
            event_id=new_id(),
            reason=cause.reason,
            at=self._now(),
            address=cause.address,
            request_id=cause.request_id,
        )
