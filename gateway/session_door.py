"""From a request's cookie to the access token that stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.cookies import SAFE_METHODS, check_csrf, session_of
from gateway.headers import Fields
from gateway.routes import BOTH, Route, Surface
from gateway.sessions import Sessions
from gateway.signin import sessions_away
from shared.bus import BusUnavailable


class SessionDoor:
    """Lets requests in that bring a session cookie instead of a token; ``public_url`` is where pages of ours are."""

    def __init__(self, sessions: Mapping[Surface, Sessions], public_url: str) -> None:
        self._sessions = dict(sessions)
        parts = urlsplit(public_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"

    async def access_token(self, route: Route, method: str, headers: Fields) -> bytes | None:
        """Return the access token of the session that the request stands on, or None if it brings no cookie.

        Raises:
            BadRequest: it brings two and does not say which one counts.
            CsrfRejected: it would change something, and may come from a foreign page.
            SessionOver: the cookie opens nothing.
            ServiceUnavailable: sessions or provider are away.
        """
        found = session_of(headers, route.surfaces or BOTH)
        if found is None or found[0] not in self._sessions:
            return None
        surface, cookie = found
        if method not in SAFE_METHODS:
            check_csrf(headers, self._origin)
        try:
            return await self._sessions[surface].access_token(cookie)
        except BusUnavailable as error:
            raise sessions_away() from error
