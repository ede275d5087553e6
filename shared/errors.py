"""Errors of the domain, and the one renderer that turns them into problem documents (RFC 9457).

    DomainError
    ├── Invalid          422  the request has the wrong shape or names something impossible
    ├── MalformedRequest 400  the request cannot be read at all
    ├── Unauthenticated  401
    ├── Forbidden        403
    ├── NotFound         404  also for what lies outside the caller's scope
    ├── Conflict         409  right shape, wrong state
    ├── StaleVersion     412  the If-Match of the request is not the current version
    ├── TooLarge         413
    ├── RateLimited      429
    └── Unavailable      503  a dependency is away; says when to try again

A domain raises a subclass with a ``code`` of its own: ``class SeatLimitReached(Conflict): code =
"seat_limit_reached"``. Codes are API: they are never renamed. The status belongs to the kind, and only
this module and ``shared.app`` know that it is HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import orjson

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: its JSON path (``billing.contact``), a stable code, what is wrong and what to do."""

    field: str
    code: str
    message: str


class DomainError(Exception):
    """The root. ``detail`` is for people and names the remedy; ``errors`` names the fields."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)


class MalformedRequest(DomainError):
    status, code, title = 400, "malformed_request", "The request cannot be read"


class Unauthenticated(DomainError):
    status, code, title = 401, "unauthenticated", "No valid credential"


class Forbidden(DomainError):
    status, code, title = 403, "forbidden", "Not allowed"


class OperatorTokenRequired(Forbidden):
    code, title = "operator_token_required", "This operation needs a token of the operator surface"


class InsufficientRole(Forbidden):
    code, title = "insufficient_role", "Your role does not allow this"


class NotFound(DomainError):
    status, code, title = 404, "not_found", "There is no such resource"


class Conflict(DomainError):
    status, code, title = 409, "conflict", "The resource is not in a state that allows this"


class StaleVersion(DomainError):
    status, code, title = 412, "stale_version", "The resource has changed since you read it"


class Versioned(Protocol):
    """Something whose ``version`` counts its committed changes."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


def at_version(found: V | None, expected: int | None, what: str, pronoun: str = "it") -> V:
    """Return what was found, at the version that the caller read; None expects none.

    Raises:
        NotFound, StaleVersion
    """
    if found is None:
        raise NotFound
    if expected is not None and expected != found.version:
        raise StaleVersion(f"the {what} is at version {found.version}: read {pronoun} again")
    return found


class TooLarge(DomainError):
    status, code, title = 413, "too_large", "The request is too large"


class Invalid(DomainError):
    status, code, title = 422, "invalid", "The request is not valid"

    @classmethod
    def field(cls, field: str, code: str, message: str) -> Invalid:
        """The common case: one field is wrong."""
        return cls(message, errors=[FieldError(field, code, message)])


class RateLimited(DomainError):
    status, code, title = 429, "rate_limited", "Too many requests"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(DomainError):
    status, code, title = 503, "unavailable", "A dependency is away"

    def __init__(self, detail: str = "", *, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


def problem(
    status: int,
    code: str,
    title: str,
    *,
    detail: str = "",
    request_id: str = "",
    errors: Sequence[FieldError] = (),
) -> bytes:
    """Render a problem document: ``type, title, status, code, detail?, requestId?, errors?`` (RFC 9457)."""
    document: dict[str, Any] = {
        "type": f"urn:dezky:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
    }
    if detail:
        document["detail"] = _text(detail)
    if request_id:
        document["requestId"] = request_id
    if errors:
        document["errors"] = [{"field": _text(e.field), "code": e.code, "message": _text(e.message)} for e in errors]
    return orjson.dumps(document)


def _text(text: str) -> str:
    """Replace unpaired surrogates: JSON can smuggle one into a field's name, and UTF-8 has no bytes for it."""
    return text.encode("utf-8", "replace").decode()


def render(error: DomainError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a domain error; the only place that maps one to HTTP."""
    headers = {"content-type": PROBLEM_TYPE}
    if isinstance(error, RateLimited | Unavailable):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    body = problem(
        error.status, error.code, error.title, detail=error.detail, request_id=request_id, errors=error.errors
    )
    return error.status, headers, body
