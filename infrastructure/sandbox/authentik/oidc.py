"""HTTP of the OAuth2 provider as clients see it: discovery, key set, token endpoint."""

import sqlite3

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.applications import GRANT_TYPES, Application, Applications
from infrastructure.sandbox.authentik.authorization import CHALLENGE_METHODS
from infrastructure.sandbox.authentik.errors import NEVER_CACHED, OAuthError, oauth_error
from infrastructure.sandbox.authentik.forms import client_of, parse_form
from infrastructure.sandbox.authentik.granted import SCOPES
from infrastructure.sandbox.authentik.grants import Grants
from infrastructure.sandbox.authentik.issued import REFRESH_TOKEN_SECONDS, Issued
from infrastructure.sandbox.authentik.journal import Journal, Origin
from infrastructure.sandbox.authentik.one_time import new_secret
from infrastructure.sandbox.authentik.store import transaction
from infrastructure.sandbox.authentik.tokens import ACCESS_TOKEN_SECONDS, ACR, Tokens


class Discovery:
    """What a client learns of an application by its slug. Discovery and keys exist per application."""

    def __init__(self, applications: Applications, tokens: Tokens, public_url: str) -> None:
        self._applications = applications
        self._tokens = tokens
        self._public_url = public_url

    def routes(self) -> list[Route]:
        return [
            # The one path without a trailing slash: OpenID Connect Discovery 1.0, section 4, fixes its end.
            Route("/application/o/{slug}/.well-known/openid-configuration", self._discovery, methods=["GET"]),
            Route("/application/o/{slug}/jwks/", self._jwks, methods=["GET"]),
        ]

    async def _discovery(self, request: Request) -> Response:
        application = self._application(request)
        issuer = self._tokens.issuer(application)
        shared = f"{self._public_url}/application/o"
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{shared}/authorize/",
                "token_endpoint": f"{shared}/token/",
                "userinfo_endpoint": f"{shared}/userinfo/",
                "introspection_endpoint": f"{shared}/introspect/",
                "revocation_endpoint": f"{shared}/revoke/",
                "end_session_endpoint": f"{issuer}end-session/",
                "jwks_uri": f"{issuer}jwks/",
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": list(GRANT_TYPES),
                "id_token_signing_alg_values_supported": ["RS256"],
                "subject_types_supported": ["public"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "code_challenge_methods_supported": list(CHALLENGE_METHODS),
                "acr_values_supported": [ACR],
                "scopes_supported": list(SCOPES),
                "request_parameter_supported": False,
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "sid"],
                "claims_parameter_supported": False,
            }
        )

    async def _jwks(self, request: Request) -> Response:
        self._application(request)
        return JSONResponse(self._tokens.jwks())

    def _application(self, request: Request) -> Application:
        application = self._applications.with_slug(request.path_params["slug"])
        if application is None:
            raise HTTPException(404)
        return application


class TokenEndpoint:
    """`/application/o/token/`. What is decided and what is given out enter the store together."""

    def __init__(
        self, store: sqlite3.Connection, grants: Grants, tokens: Tokens, issued: Issued, journal: Journal
    ) -> None:
        self._store = store
        self._grants = grants
        self._tokens = tokens
        self._issued = issued
        self._journal = journal

    def routes(self) -> list[Route]:
        return [Route("/application/o/token/", self._token, methods=["POST"])]

    async def _token(self, request: Request) -> Response:
        body = await request.body()
        with transaction(self._store):
            # A refusal may have revoked tokens, so it must not roll back.
            try:
                return JSONResponse(self._answer(request, body), headers=NEVER_CACHED)
            except OAuthError as error:
                return oauth_error(error)

    def _answer(self, request: Request, body: bytes) -> dict[str, object]:
        form = parse_form(body)
        self._report_reuse(form, request)
        granted = self._grants.decide(client_of(request.headers.get("authorization", ""), form), form)
        answer = self._tokens.respond(granted)
        self._issued.add("access", str(answer["access_token"]), granted, ACCESS_TOKEN_SECONDS)
        if not granted.refreshable:
            self._journal.record("login", granted.user, Origin.of(request), {"auth_method": "token"})
        elif "offline_access" in granted.scopes and "refresh_token" in granted.application.grant_types:
            refresh = new_secret()
            self._issued.add("refresh", refresh, granted, REFRESH_TOKEN_SECONDS)
            answer["refresh_token"] = refresh
        return answer

    def _report_reuse(self, form: dict[str, str], request: Request) -> None:
        row = self._issued.find(form.get("refresh_token", ""), "refresh")
        if row is not None and row["revoked"]:
            about = {"message": "Revoked refresh token was used"}
            self._journal.record("suspicious_request", None, Origin.of(request), about)
