"""HTTP of the OAuth2 provider: discovery, key set, token endpoint."""

from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.applications import Application, Applications
from infrastructure.sandbox.authentik.errors import NEVER_CACHED, OAuthError, oauth_error
from infrastructure.sandbox.authentik.grants import CLIENT_CREDENTIALS, ClientAuth, Grants
from infrastructure.sandbox.authentik.tokens import ACR, SCOPES, Tokens

FORM_FIELDS_MAX = 50


class Oidc:
    """The provider's endpoints. Discovery and keys exist per application, the others once."""

    def __init__(self, applications: Applications, grants: Grants, tokens: Tokens, public_url: str) -> None:
        self._applications = applications
        self._grants = grants
        self._tokens = tokens
        self._public_url = public_url

    def routes(self) -> list[Route]:
        return [
            Route("/application/o/token/", self._token, methods=["POST"]),
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
                "jwks_uri": f"{issuer}jwks/",
                "response_types_supported": ["code"],
                "grant_types_supported": list(CLIENT_CREDENTIALS),
                "id_token_signing_alg_values_supported": ["RS256"],
                "subject_types_supported": ["public"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "acr_values_supported": [ACR],
                "scopes_supported": list(SCOPES),
                "request_parameter_supported": False,
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr"],
                "claims_parameter_supported": False,
            }
        )

    async def _jwks(self, request: Request) -> Response:
        self._application(request)
        return JSONResponse(self._tokens.jwks())

    async def _token(self, request: Request) -> Response:
        try:
            form = _form(await request.body())
            granted = self._grants.decide(_client(request.headers.get("authorization", ""), form), form)
        except OAuthError as error:
            return oauth_error(error)
        answer = self._tokens.respond(granted.application, granted.user, form.get("scope", ""), granted.amr)
        return JSONResponse(answer, headers=NEVER_CACHED)

    def _application(self, request: Request) -> Application:
        application = self._applications.with_slug(request.path_params["slug"])
        if application is None:
            raise HTTPException(404)
        return application


def _form(body: bytes) -> dict[str, str]:
    """The form's fields; of a doubled field the last counts, as in the original. Raises OAuthError."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except ValueError:
        raise OAuthError("invalid_request") from None
    return dict(fields)


def _client(authorization: str, form: Mapping[str, str]) -> ClientAuth:
    """HTTP Basic wins over the form; what cannot be read as Basic is an unknown client. Raises OAuthError."""
    if not authorization.startswith("Basic "):
        return ClientAuth(form.get("client_id", ""), form.get("client_secret", ""))
    try:
        client_id, _, secret = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
    except ValueError:
        raise OAuthError("invalid_client") from None
    return ClientAuth(client_id, secret)
