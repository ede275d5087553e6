"""OAuth errors in the shape in which Authentik gives them."""

from typing import Literal
from uuid import uuid4

from starlette.responses import JSONResponse

Code = Literal["invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unsupported_grant_type"]

# RFC 6749 section 5.2.
DESCRIPTIONS: dict[Code, str] = {
    "invalid_request": "The request is otherwise malformed",
    "invalid_client": "Client authentication failed: unknown client, or no client authentication included",
    "invalid_grant": "The provided authorization grant is invalid, expired, revoked or another client's",
    "invalid_scope": "The requested scope exceeds the scope granted by the resource owner",
    "unsupported_grant_type": "The authorization grant type is not supported by the authorization server",
}

# RFC 6749 section 5.1: no answer of the token endpoint may be cached.
NEVER_CACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """A refused token request. The code is all that the caller learns, not which part was wrong."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.code = code


def oauth_error(error: OAuthError, status: int = 400) -> JSONResponse:
    """`{"error", "error_description", "request_id"}`. The token endpoint says 400 to a wrong client, others 401."""
    body = {
        "error": error.code,
        "error_description": DESCRIPTIONS[error.code],
        "request_id": uuid4().hex,
    }
    return JSONResponse(body, status, NEVER_CACHED)
