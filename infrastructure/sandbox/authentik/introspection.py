"""What can be asked about a token, and how to end one: userinfo, RFC 7662 and RFC 7009."""

import json
from base64 import urlsafe_b64decode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.applications import Application
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.errors import NEVER_CACHED, OAuthError, oauth_error
from infrastructure.sandbox.authentik.forms import client_of, parse_form
from infrastructure.sandbox.authentik.grants import Grants
from infrastructure.sandbox.authentik.issued import Issued
from infrastructure.sandbox.authentik.tokens import Tokens


class Introspection:
    """The endpoints about tokens; a client learns and ends only its own."""

    def __init__(self, grants: Grants, directory: Directory, tokens: Tokens, issued: Issued) -> None:
        self._grants = grants
        self._directory = directory
        self._tokens = tokens
        self._issued = issued

    def routes(self) -> list[Route]:
        return [
            Route("/application/o/userinfo/", self._userinfo, methods=["GET", "POST"]),
            Route("/application/o/introspect/", self._introspect, methods=["POST"]),
            Route("/application/o/revoke/", self._revoke, methods=["POST"]),
        ]

    async def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        row = self._issued.find(token, "access") if scheme.lower() == "bearer" else None
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        if row is None or user is None or row["revoked"] or not user.is_active:
            return _refused(401, "invalid_token", "The access token is expired, revoked or malformed")
        scopes = tuple(row["scope"].split())
        if "openid" not in scopes:
            return _refused(403, "insufficient_scope", "The access token lacks the scope openid")
        return JSONResponse(self._tokens.person(user, scopes), headers=NEVER_CACHED)

    async def _introspect(self, request: Request) -> Response:
        """A wrong client secret is not told apart from an unknown token: 200 and `{"active": false}`."""
        try:
            form = parse_form(await request.body())
            application = self._grants.authenticated(client_of(request.headers.get("authorization", ""), form))
        except OAuthError:
            application, form = None, {}
        facts = self._facts(application, form.get("token", "")) if application else None
        return JSONResponse(facts or {"active": False}, headers=NEVER_CACHED)

    def _facts(self, application: Application, token: str) -> dict[str, object] | None:
        access = self._issued.find(token, "access")
        row = access or self._issued.find(token, "refresh")
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        if row is None or user is None or row["revoked"] or row["slug"] != application.slug:
            return None
        # An access token's claims are in itself; a refresh token is opaque.
        claims = _claims(token) if access else self._opaque_claims(application, user.uid, row["issued"], row["expires"])
        return {**claims, "active": True, "scope": row["scope"], "client_id": application.client_id}

    def _opaque_claims(self, application: Application, sub: str, issued: int, expires: float) -> dict[str, object]:
        issuer = self._tokens.issuer(application)
        return {"iss": issuer, "sub": sub, "aud": application.client_id, "iat": issued, "exp": int(expires)}

    async def _revoke(self, request: Request) -> Response:
        """200 also for a token that is unknown: it is not valid afterwards, which is all that was asked."""
        try:
            form = parse_form(await request.body())
            application = self._grants.authenticated(client_of(request.headers.get("authorization", ""), form))
            if application is None:
                raise OAuthError("invalid_client")
        except OAuthError as error:
            return oauth_error(error, 401 if error.code == "invalid_client" else 400)
        token = form.get("token", "")
        row = self._issued.find(token, "refresh") or self._issued.find(token, "access")
        if row is not None and row["slug"] == application.slug:
            self._issued.revoke(token)
        return JSONResponse({}, headers=NEVER_CACHED)


def _refused(status: int, code: str, description: str) -> Response:
    """No body; the reason is in the header."""
    header = f'Bearer error="{code}", error_description="{description}"'
    return Response(status_code=status, headers={"WWW-Authenticate": header, **NEVER_CACHED})


def _claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    claims: dict[str, object] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
