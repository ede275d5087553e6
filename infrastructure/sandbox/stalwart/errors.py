"""The three levels at which JMAP reports an error (RFC 8620 section 3.6, section 5.3)."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

REQUEST_ERROR = "urn:ietf:params:jmap:error:"
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
}


class RequestError(Exception):
    """The whole request is refused: a problem document (RFC 7807). `kind` is the end of the URN, or empty."""

    def __init__(self, status: int, detail: str, kind: str = "", **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.members = members

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        body = {
            "type": REQUEST_ERROR + self.kind if self.kind else "about:blank",
            "status": self.status,
            "title": TITLES[self.status],
            "detail": self.detail,
            **self.members,
        }
        return JSONResponse(body, self.status, dict(headers or {}), media_type="application/problem+json")


class Throttled(RequestError):
    """429; `seconds` until the next request is welcome."""

    def __init__(self, seconds: int) -> None:
        super().__init__(429, "Your request has been rate limited. Please try again in a few seconds.")
        self.seconds = seconds

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        return super().response({**(headers or {}), "Retry-After": str(self.seconds)})


class Unauthenticated(RequestError):
    """401, with the schemes that would help."""

    def __init__(self) -> None:
        super().__init__(401, "You have to authenticate first.")

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        response = super().response(headers)
        response.headers.append("WWW-Authenticate", 'Bearer realm="Stalwart Server"')
        response.headers.append("WWW-Authenticate", 'Basic realm="Stalwart Server"')
        return response


class MethodError(Exception):
    """One call is refused: `["error", {"type", "description"}, callId]`, and nothing of it was done."""

    def __init__(self, kind: str, description: str) -> None:
        super().__init__(description)
        self.kind = kind
        self.description = description

    def as_json(self) -> dict[str, object]:
        return {"type": self.kind, "description": self.description}


class SetError(Exception):
    """One object is refused; the others of the call are not touched by it.

    Members beside `type` and `description`: properties, objectId, linkedObjects, validationErrors.
    """

    def __init__(self, kind: str, description: str = "", **members: Any) -> None:
        super().__init__(kind, description)
        self.kind = kind
        self.description = description
        self.members = members

    def as_json(self) -> dict[str, object]:
        described = {"description": self.description} if self.description else {}
        return {"type": self.kind, **described, **self.members}


def invalid_patch(path: str, description: str) -> SetError:
    """`path` is the JSON pointer of the property, without the leading slash."""
    return SetError("invalidPatch", description, properties=[path])


def invalid_property(name: str, description: str) -> SetError:
    return SetError("invalidProperties", description, properties=[name])
