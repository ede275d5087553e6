"""Signing in with a browser, surface by surface: the pages under ``/auth/{surface}``.

    GET  login?returnTo=/…     → the provider's page, with a state that only this browser holds
    GET  callback?code&state   → tokens, kept here; a cookie; back to returnTo
    GET  session               → who is signed in
    POST logout                → the provider's page that ends its session, too
    POST backchannel-logout    → the provider ends sessions by itself (OpenID Connect Back-Channel Logout 1.0)

Codes, states and cookies are in no log: a page is known there by its pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog

from gateway.cookies import check_csrf, clear_cookie, read_cookies, session_cookie, set_cookie
from gateway.login import Login, LoginState, keys_away, login_refused, return_path, same_login
from gateway.oidc import OidcClient
from gateway.problems import BadRequest, Headers, Refusal, ServiceUnavailable
from gateway.provider_tokens import ProviderTokens
from gateway.routes import Surface
from gateway.sessions import Cause, Sessions
from gateway.token_errors import KeysUnavailable, TokenError
from gateway.visits import Answer, Page, Visit, WrongMethod
from shared.bus import BusUnavailable
from shared.clock import rfc3339

log = structlog.get_logger()


class NotSignedIn(Refusal):
    """401 to the question who is signed in: a plain fact, and no attempt that anybody counts."""

    status, title, default_code = 401, "Nobody is signed in", "unauthenticated"

    def headers(self) -> Headers:
        return [(b"www-authenticate", b'Bearer realm="dezky"')]


class SignIn:
    """The pages of one surface."""

    def __init__(
        self,
        surface: Surface,
        sessions: Sessions,
        client: OidcClient,
        tokens: ProviderTokens,
        login: Login,
        state: LoginState,
    ) -> None:
        self._cookie_name = session_cookie(surface)
        self._sessions = sessions
        self._client = client
        self._tokens = tokens
        self._login = login
        self._state = state

    def pages(self) -> dict[str, tuple[str, Page]]:
        """Return the pages by the last word of their path, each with its method."""
        return {
            "login": ("GET", self.login),
            "callback": ("GET", self.callback),
            "session": ("GET", self.session),
            "logout": ("POST", self.logout),
            "backchannel-logout": ("POST", self.backchannel_logout),
        }

    async def login(self, visit: Visit) -> Answer:
        """Send the browser to the provider; ``returnTo`` is the path of ours that it comes back to."""
        begun, kept = self._state.begin(return_path(visit.parameters().get("returnTo", "/")))
        target = await self._client.authorization_url(state=begun.state, nonce=begun.nonce, verifier=begun.verifier)
        return Answer.redirect(target, kept)

    async def callback(self, visit: Visit) -> Answer:
        """Take the provider's answer, once: whatever comes of it, the state is used up."""
        given = visit.parameters()
        begun = self._state.read(visit.headers)
        same_login(given, begun)
        if not await self._sessions.first_time("login", begun.state):
            raise login_refused("it was answered already")
        try:
            record = await self._login.complete(given, begun)
        except Refusal as refusal:
            return Answer.refusal(refusal, visit.request_id, self._state.forget())
        before = self._cookie(visit)
        if before is not None:
            await self._sessions.end(before, Cause("signed_in_again", visit.address, visit.request_id))
        cookie = await self._sessions.begin(record, visit.address, visit.request_id)
        target = self._client.identity.home.rstrip("/") + begun.return_to
        return Answer.redirect(target, set_cookie(self._cookie_name, cookie), self._state.forget())

    async def session(self, visit: Visit) -> Answer:
        """Say who is signed in. Asking is not using: it does not put off the idle limit."""
        cookie = self._cookie(visit)
        record = await self._sessions.look(cookie) if cookie is not None else None
        if record is None:
            stale = [clear_cookie(self._cookie_name)] if cookie is not None else []
            return Answer.refusal(NotSignedIn(), visit.request_id, *stale)
        person = {"name": record.person.name, "email": record.person.email}
        ends_at = rfc3339(datetime.fromtimestamp(record.ends_at, UTC))
        return Answer.json({"signedIn": True, "person": person, "expiresAt": ends_at})

    async def logout(self, visit: Visit) -> Answer:
        """End the session here, and say where to end it at the provider.

        A script that asks for JSON gets ``{"location"}`` to go to, because it cannot follow to another origin.
        """
        parts = urlsplit(self._client.identity.home)
        check_csrf(visit.headers, f"{parts.scheme}://{parts.netloc}")
        cookie = self._cookie(visit)
        cause = Cause("signed_out", visit.address, visit.request_id)
        id_token = await self._sessions.end(cookie, cause) if cookie is not None else None
        target = await self._client.end_session_url(id_token)
        forgotten = clear_cookie(self._cookie_name)
        if any(b"application/json" in accepted for accepted in visit.values(b"accept")):
            return Answer.json({"location": target}, forgotten)
        return Answer.redirect(target, forgotten)

    async def backchannel_logout(self, visit: Visit) -> Answer:
        """End the sessions that a logout token names; the same token ends nothing a second time."""
        token = (await visit.form()).get("logout_token", "")
        try:
            asked = await self._tokens.logout(token)
        except TokenError as error:
            raise BadRequest(error.error_description, code="invalid_logout_token") from error
        except KeysUnavailable as error:
            raise keys_away(error) from error
        if not await self._sessions.known("logout", asked.token_id):
            ended = await self._sessions.end_all(asked, Cause("provider_logout", request_id=visit.request_id))
            # Only now, so that a provider which repeats what failed here is heard.
            await self._sessions.first_time("logout", asked.token_id)
            log.info("sign_in.provider_logout", sessions=ended)
        return Answer.empty()

    def _cookie(self, visit: Visit) -> bytes | None:
        return read_cookies(visit.headers, [self._cookie_name]).get(self._cookie_name)


class SignInPages:
    """Finds the page of a path under ``/auth``."""

    def __init__(self, surfaces: Mapping[Surface, SignIn]) -> None:
        self._pages = {
            f"/auth/{surface}/{word}": (f"/auth/{{surface}}/{word}", _page(method, page))
            for surface, sign_in in surfaces.items()
            for word, (method, page) in sign_in.pages().items()
        }

    def find(self, path: str) -> tuple[str, Page] | None:
        """Return the page at ``path`` and its name in logs and metrics, or None."""
        return self._pages.get(path)


def sessions_away() -> ServiceUnavailable:
    """Return the refusal for when the sessions cannot be read or written."""
    return ServiceUnavailable("sessions are not available", code="sessions_unavailable", retry_after=2)


def _page(method: str, page: Page) -> Page:
    async def answer(visit: Visit) -> Answer:
        if visit.method != method:
            raise WrongMethod(method)
        try:
            return await page(visit)
        except BusUnavailable as error:
            log.warning("sessions.away", reason=type(error).__name__)
            raise sessions_away() from error

    return answer
