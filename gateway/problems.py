"""Refusals that the gateway itself makes, each a problem document (RFC 9457) with a stable code.

Refusal
├── BadRequest           400
├── InvalidToken         401  with the challenge of RFC 6750
├── NotPermitted         403
├── RouteNotFound        404
├── RequestTimeout       408
├── ContentTooLarge      413
├── BadGateway           502
├── ServiceUnavailable   503  with Retry-After
└── GatewayTimeout       504
"""

from __future__ import annotations

from typing import ClassVar

from shared.errors import PROBLEM_TYPE, problem

Headers = list[tuple[bytes, bytes]]

_CONTENT_TYPE = (b"content-type", PROBLEM_TYPE.encode())
_NO_STORE = (b"cache-control", b"no-store")


class Refusal(Exception):
    """The gateway answers this request itself.

    Attributes:
        code: stable name of the fault, part of the API.
        retry_after: seconds until another attempt makes sense, or None.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str = "", *, code: str = "", retry_after: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.code = code or self.default_code
        self.retry_after = retry_after

    def headers(self) -> Headers:
        """Return the header fields that this refusal adds to its answer."""
        if self.retry_after is None:
            return []
        return [(b"retry-after", str(self.retry_after).encode())]

    def render(self, request_id: str) -> tuple[Headers, bytes]:
        """Return header fields and body of the answer."""
        body = problem(self.status, self.code, self.title, detail=self.detail, request_id=request_id)
        length = (b"content-length", str(len(body)).encode())
        return [_CONTENT_TYPE, length, _NO_STORE, *self.headers()], body


class BadRequest(Refusal):
    status, title, default_code = 400, "The request cannot be understood", "bad_request"


class InvalidToken(Refusal):
    """No token, or one that is not good here. ``challenge`` is the value of WWW-Authenticate (RFC 6750 §3)."""

    status, title, default_code = 401, "No valid access token", "invalid_token"

    def __init__(self, detail: str, *, code: str = "", challenge: str) -> None:
        super().__init__(detail, code=code)
        self._challenge = challenge

    def headers(self) -> Headers:
        return [(b"www-authenticate", self._challenge.encode("ascii", "replace"))]


class NotPermitted(Refusal):
    status, title, default_code = 403, "This token does not open this operation", "forbidden"


class RouteNotFound(Refusal):
    status, title, default_code = 404, "There is no such route", "route_not_found"


class RequestTimeout(Refusal):
    status, title, default_code = 408, "The request did not arrive in time", "request_timeout"


class ContentTooLarge(Refusal):
    status, title, default_code = 413, "The request body is too large", "content_too_large"


class BadGateway(Refusal):
    status, title, default_code = 502, "The service behind the gateway broke off", "bad_gateway"


class ServiceUnavailable(Refusal):
    status, title, default_code = 503, "The service is not available right now", "service_unavailable"

    def __init__(self, detail: str = "", *, code: str = "", retry_after: int = 1) -> None:
        super().__init__(detail, code=code, retry_after=retry_after)


class GatewayTimeout(Refusal):
    status, title, default_code = 504, "The service did not answer in time", "upstream_timeout"
