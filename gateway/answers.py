"""What every operation of the merged document has in common: the conventions, and the answers of the gateway itself."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.problems import (
    BadGateway,
    BadRequest,
    ContentTooLarge,
    GatewayTimeout,
    InvalidToken,
    NotPermitted,
    Refusal,
    RequestTimeout,
    ServiceUnavailable,
)
from gateway.routes import OPERATOR, Route
from shared.errors import PROBLEM_TYPE, problem
from shared.openapi import REQUEST_ID, RETRY_AFTER
from shared.schemas import ProblemView

ABOUT = """\
The control plane of a workspace suite that is sold through partners.

**Callers** send an access token of one of the two surfaces as `Authorization: Bearer …` (RFC 6750), or come with the \
cookie of a browser session; then every write also needs `X-Dezky-CSRF: 1` and an `Origin` of our own. Operators are \
people of the group `dezky-platform-admins` *on the operator surface*. What lies outside a caller's scope is answered \
like what does not exist: 404.

**Refusals** are problem documents (RFC 9457). Decide by `code`, which is never renamed; `detail` is for people; \
`errors` names each field that is wrong; `requestId` finds the request in our logs.

**Lists** come page by page: `limit` (100, at most 500) and `cursor`; the answer is `{items, next}`, with a `Link` to \
the next page (RFC 8288). A cursor belongs to the filters that it came with.

**Changes** take the `ETag` of what they are based on as `If-Match`; a stale one is 412. A `POST` takes an \
`Idempotency-Key` and may then be repeated for 24 hours.

**Values**: times are RFC 3339 in UTC with milliseconds, dates ISO 8601, money integer minor units beside an ISO 4217 \
currency, shares basis points (1/10,000). Members that are not documented are refused in requests and may be added to \
answers at any time.
"""
TAGS = [
    {"name": "tenants", "description": "Customers: their life from creation to erasure, and their provisioning."},
    {"name": "transfers", "description": "Requests of partners to take over a tenant, and who decides them."},
    {"name": "people", "description": "Operators, partners' people and tenants' people: invitations, roles, access."},
    {"name": "partners", "description": "Who sells the suite: contracts, suspension, the end of one."},
    {"name": "partner reports", "description": "What a partner's customers are worth, and how they fare."},
    {"name": "billing", "description": "The catalog, subscriptions and recurring revenue."},
    {"name": "flags", "description": "Feature flags: definitions and evaluation."},
    {"name": "audit", "description": "The tamper-evident log."},
    {"name": "health", "description": "How everything is that the platform stands on."},
]
PROBLEM = "gateway.ProblemView"
_RESPONSES = "#/components/responses/gateway."

# Class, codes and, where there is one, the header that a client acts on.
_KNOWN: dict[str, tuple[type[Refusal], tuple[str, ...]]] = {
    "BadRequest": (BadRequest, ("bad_request", "invalid_request", "invalid_target", "invalid_path")),
    "InvalidToken": (InvalidToken, ("unauthenticated", "invalid_token", "session_over")),
    "NotPermitted": (NotPermitted, ("operator_token_required", "csrf_rejected")),
    "RequestTimeout": (RequestTimeout, ("request_timeout",)),
    "ContentTooLarge": (ContentTooLarge, ("content_too_large",)),
    "BadGateway": (BadGateway, ("bad_gateway",)),
    "ServiceUnavailable": (
        ServiceUnavailable,
        ("unavailable", "upstream_unavailable", "directory_unavailable", "identity_keys_unavailable"),
    ),
    "GatewayTimeout": (GatewayTimeout, ("upstream_timeout",)),
}
_CHALLENGE = {
    "description": "Why (RFC 6750 §3), and where the metadata of this resource is (RFC 9728).",
    "schema": {"type": "string"},
    "example": 'Bearer realm="dezky", error="invalid_token", error_description="the token has expired"',
}


def components() -> dict[str, dict[str, Any]]:
    """Return the schemas and responses that the gateway's own answers refer to."""
    shape = ProblemView.model_json_schema(by_alias=True, ref_template="#/components/schemas/gateway.{model}")
    parts = {f"gateway.{name}": part for name, part in shape.pop("$defs", {}).items()}
    return {
        "schemas": {**parts, PROBLEM: shape},
        "responses": {f"gateway.{name}": _response(*known) for name, known in _KNOWN.items()},
    }


def add_to(operation: dict[str, Any], route: Route) -> None:
    """Add what the gateway answers to an operation behind ``route``, unless its service says more of that status."""
    names = ["BadGateway", "ServiceUnavailable", "GatewayTimeout", "BadRequest"]
    if not route.public:
        names += ["InvalidToken"]
    if route.surfaces == OPERATOR:
        names += ["NotPermitted"]
    if "requestBody" in operation:
        names += ["RequestTimeout", "ContentTooLarge"]
    responses = operation.setdefault("responses", {})
    for name in names:
        responses.setdefault(str(_KNOWN[name][0].status), {"$ref": _RESPONSES + name})
    operation["responses"] = dict(sorted(responses.items()))


def _response(kind: type[Refusal], codes: tuple[str, ...]) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if kind is ServiceUnavailable:
        headers = {"Retry-After": RETRY_AFTER}
    elif kind is InvalidToken:
        headers = {"WWW-Authenticate": _CHALLENGE}
    examples = {
        code: {"value": orjson.loads(problem(kind.status, code, kind.title, request_id=REQUEST_ID))} for code in codes
    }
    return {
        "description": f"{kind.title} ({', '.join(f'`{code}`' for code in codes)}).",
        **({"headers": headers} if headers else {}),
        "content": {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}, "examples": examples}},
    }
