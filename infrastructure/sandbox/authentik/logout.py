"""Ending a session at the client's wish (OpenID Connect RP-Initiated Logout 1.0)."""

import sqlite3

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik import pages
from infrastructure.sandbox.authentik.applications import Application, Applications
from infrastructure.sandbox.authentik.authorization import with_query
from infrastructure.sandbox.authentik.errors import OAuthError
from infrastructure.sandbox.authentik.forms import parse_form
from infrastructure.sandbox.authentik.journal import Journal, Origin
from infrastructure.sandbox.authentik.login import SESSION_COOKIE
from infrastructure.sandbox.authentik.sessions import Sessions
from infrastructure.sandbox.authentik.store import transaction
from infrastructure.sandbox.authentik.tokens import Tokens


class EndSession:
    """`/application/o/{slug}/end-session/`, by GET or POST. Without a session it is a valid no-op."""

    def __init__(
        self, store: sqlite3.Connection, applications: Applications, sessions: Sessions, tokens: Tokens
    ) -> None:
        self._store = store
        self._applications = applications
        self._sessions = sessions
        self._tokens = tokens
        self._journal = Journal(store)

    def routes(self) -> list[Route]:
        return [Route("/application/o/{slug}/end-session/", self._end, methods=["GET", "POST"])]

    async def _end(self, request: Request) -> Response:
        application = self._applications.with_slug(request.path_params["slug"])
        if application is None:
            raise HTTPException(404)
        try:
            asked = dict(request.query_params) if request.method == "GET" else parse_form(await request.body())
            back = self._way_back(application, asked)
        except OAuthError:
            return pages.message("This sign-out cannot go on", "The request is malformed.", 400)
        with transaction(self._store):
            signed_in = self._sessions.find(request.cookies.get(SESSION_COOKIE, ""))
            if signed_in is not None:
                self._journal.record("logout", signed_in.user, Origin.of(request))
                self._sessions.end(signed_in)
        response: Response = (
            RedirectResponse(back, 302)
            if back
            else pages.message("Signed out", f"You have signed out of {application.name}.")
        )
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response

    def _way_back(self, application: Application, asked: dict[str, str]) -> str:
        """Where to go afterwards, or empty. Raises OAuthError for a wrong hint or an address not registered."""
        hint, back = asked.get("id_token_hint", ""), asked.get("post_logout_redirect_uri", "")
        if hint and not self._tokens.is_ours(hint, application):
            raise OAuthError("invalid_request")
        if not back or not application.has_returns:
            return ""
        if not hint or not application.returns_to(back):
            raise OAuthError("invalid_request")
        return with_query(back, {"state": asked.get("state", "")})
