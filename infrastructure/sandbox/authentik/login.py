"""What people see: the authorization endpoint, the login page, and the page of a recovery link.

Consent is implied. A person without a session is sent to the login page, whose `next` leads back to the request.
"""

import hmac
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik import pages
from infrastructure.sandbox.authentik.applications import Applications
from infrastructure.sandbox.authentik.authorization import (
    AuthorizationRequest,
    BadClient,
    Refusal,
    parse,
    with_query,
)
from infrastructure.sandbox.authentik.codes import Codes
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.errors import OAuthError
from infrastructure.sandbox.authentik.forms import parse_form
from infrastructure.sandbox.authentik.grants import Grants
from infrastructure.sandbox.authentik.install import LOGIN_FLOW
from infrastructure.sandbox.authentik.journal import Journal, Origin, model
from infrastructure.sandbox.authentik.one_time import new_secret
from infrastructure.sandbox.authentik.recovery import Recovery
from infrastructure.sandbox.authentik.sessions import SESSION_SECONDS, Sessions, SignedIn
from infrastructure.sandbox.authentik.store import transaction

AUTHORIZE = "/application/o/authorize/"
SESSION_COOKIE, CSRF_COOKIE = "authentik_session", "authentik_csrf"
WRONG = "The user name or the password is wrong."
EXPIRED = "This page was open for too long. Please try again."


@dataclass(frozen=True, slots=True)
class Cookies:
    """The two cookies of the login page; `secure` if the public address is HTTPS."""

    secure: bool

    def set(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        response.set_cookie(name, value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="lax")

    def form(self, request: Request, show: Callable[[str], Response]) -> Response:
        """Shows a form that carries the visitor's CSRF token, making one if there is none."""
        token = request.cookies.get(CSRF_COOKIE) or new_secret()
        response = show(token)
        self.set(response, CSRF_COOKIE, token)
        return response


class Authorization:
    """The authorization endpoint (RFC 6749 section 3.1, OpenID Connect Core 1.0 section 3.1.2)."""

    def __init__(
        self, store: sqlite3.Connection, applications: Applications, grants: Grants, sessions: Sessions, codes: Codes
    ) -> None:
        self._store = store
        self._applications = applications
        self._grants = grants
        self._sessions = sessions
        self._codes = codes
        self._journal = Journal(store)

    def routes(self) -> list[Route]:
        return [Route(AUTHORIZE, self._authorize, methods=["GET"])]

    async def _authorize(self, request: Request) -> Response:
        try:
            asked = parse(self._applications, dict(request.query_params))
            signed_in = self._sessions.find(request.cookies.get(SESSION_COOKIE, ""))
            if signed_in is None or _must_sign_in_again(asked, signed_in):
                if "none" in asked.prompt:
                    raise asked.refusal("login_required")
                return _to_login(request)
        except BadClient as error:
            return pages.message("This sign-in cannot go on", str(error), 400)
        except Refusal as refusal:
            return RedirectResponse(refusal.location, 302)
        if not self._grants.may_enter(asked.application, signed_in.user):
            return pages.message("Permission denied", f"You may not use {asked.application.name}.", 403)
        with transaction(self._store):
            code = self._codes.issue(asked, signed_in)
            self._sessions.enter(signed_in, asked.application.slug)
            about = {
                "authorized_application": model(
                    "authentik_core", "application", asked.application.slug, asked.application.name
                ),
                "scopes": " ".join(asked.scopes),
            }
            self._journal.record("authorize_application", signed_in.user, Origin.of(request), about)
        return RedirectResponse(with_query(asked.redirect_uri, {"code": code, "state": asked.state}), 302)


def _must_sign_in_again(asked: AuthorizationRequest, signed_in: SignedIn) -> bool:
    too_old = asked.max_age is not None and time.time() - signed_in.auth_time > asked.max_age
    return too_old or "login" in asked.prompt


def _to_login(request: Request) -> Response:
    # What asks for a fresh sign-in is answered by it: left in, it would ask for ever.
    query = [(name, value) for name, value in request.query_params.multi_items() if name not in {"prompt", "max_age"}]
    back = f"{AUTHORIZE}?{urlencode(query)}"
    return RedirectResponse(f"/if/flow/{LOGIN_FLOW}/?next={quote(back, safe='')}", 302)


class LoginPages:
    """`/if/flow/{slug}/`: the login flow, and the brand's recovery flow."""

    def __init__(
        self, store: sqlite3.Connection, directory: Directory, sessions: Sessions, recovery: Recovery, cookies: Cookies
    ) -> None:
        self._store = store
        self._directory = directory
        self._sessions = sessions
        self._recovery = recovery
        self._cookies = cookies
        self._journal = Journal(store)

    def routes(self) -> list[Route]:
        return [
            Route("/if/flow/{slug}/", self._show, methods=["GET"]),
            Route("/if/flow/{slug}/", self._submit, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        slug = request.path_params["slug"]
        if slug == LOGIN_FLOW:
            return self._cookies.form(request, pages.login_form)
        if slug != self._recovery.flow():
            raise HTTPException(404)
        if self._recovery.holder(slug, request.query_params.get("flow_token", "")) is None:
            return pages.message("This link no longer works", "Ask for a new one.", 400)
        return self._cookies.form(request, pages.password_form)

    async def _submit(self, request: Request) -> Response:
        try:
            form = parse_form(await request.body())
        except OAuthError:
            raise HTTPException(400) from None
        slug = request.path_params["slug"]
        if slug == LOGIN_FLOW:
            show: Callable[[str, str, str, int], Response] = pages.login_form
        elif slug == self._recovery.flow():
            show = _password_form
        else:
            raise HTTPException(404)
        if not _same(form.get("csrf", ""), request.cookies.get(CSRF_COOKIE, "")):
            return self._cookies.form(request, lambda token: show(token, form.get("username", ""), EXPIRED, 403))
        with transaction(self._store):
            return self._sign_in(request, form) if slug == LOGIN_FLOW else self._recover(request, form, slug)

    def _sign_in(self, request: Request, form: dict[str, str]) -> Response:
        username, origin = form.get("username", ""), Origin.of(request)
        user = self._directory.sign_in(username, form.get("password", ""))
        if user is None:
            about = {"username": username, "stage": {"name": "default-authentication-password"}}
            self._journal.record("login_failed", None, origin, about)
            return self._cookies.form(request, lambda token: pages.login_form(token, username, WRONG, 400))
        self._journal.record("login", user, origin, {"auth_method": "password"})
        cookie = self._sessions.start(user, request.cookies.get(SESSION_COOKIE, ""))
        back = request.query_params.get("next", "")
        # Only to where the login page is needed, so that nobody can make it send people elsewhere.
        if back.startswith(f"{AUTHORIZE}?"):
            response: Response = RedirectResponse(_normal(back), 302)
        else:
            response = pages.message("Signed in", f"You are signed in as {user.username}.")
        self._cookies.set(response, SESSION_COOKIE, cookie, SESSION_SECONDS)
        # The next form gets a token of its own.
        response.delete_cookie(CSRF_COOKIE, path="/")
        return response

    def _recover(self, request: Request, form: dict[str, str], slug: str) -> Response:
        user = self._recovery.holder(slug, request.query_params.get("flow_token", ""))
        if user is None:
            return pages.message("This link no longer works", "Ask for a new one.", 400)
        password = form.get("password", "")
        if not password:
            return self._cookies.form(request, lambda token: pages.password_form(token, "Choose a password.", 400))
        self._recovery.use(user, password)
        self._journal.record("password_set", user, Origin.of(request))
        self._journal.record("user_write", user, Origin.of(request), {"name": user.name, "created": False})
        return pages.message("Password saved", "You can sign in with it now.")


def _password_form(csrf: str, _username: str, alert: str, status: int) -> Response:
    return pages.password_form(csrf, alert, status)


def _same(sent: str, kept: str) -> bool:
    return bool(kept) and hmac.compare_digest(sent.encode(), kept.encode())


def _normal(back: str) -> str:
    """The query once more encoded: nothing that a header could take amiss stays."""
    path, _, query = back.partition("?")
    return f"{path}?{urlencode(parse_qsl(query, keep_blank_values=True))}"
