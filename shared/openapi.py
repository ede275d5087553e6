"""The OpenAPI document of a service: what FastAPI reads from signatures, completed by what a client must know besides.

What a signature says is read from it: who needs an operator's token, what is paged, conditional or repeatable, and the
refusals that follow from that. What it cannot say (an example of each body, the refusals of the use case) is data
beside the service: a mapping from a route's name to a ``Described``, handed to ``create_app``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from shared.errors import (
    PROBLEM_TYPE,
    DomainError,
    FieldError,
    InsufficientRole,
    Invalid,
    MalformedRequest,
    NotFound,
    OperatorTokenRequired,
    StaleVersion,
    problem,
)
from shared.idempotency import IdempotencyInProgress, IdempotencyKeyReused
from shared.policy import PartnerTokenRequired, is_operators_only, is_partners_only
from shared.schemas import ProblemView

Json = Any
SCHEMAS = "#/components/schemas/"
REQUEST_ID = "0198c0de-7a11-7000-8000-00000000beef"
"""The request id of every example."""

PROBLEM_OF = {"$ref": f"{SCHEMAS}ProblemView"}
RETRY_AFTER = {
    "description": "Seconds until another attempt makes sense.",
    "schema": {"type": "integer", "minimum": 0},
    "example": 2,
}
_ETAG = {
    "description": "The version of what was answered; send it back as `If-Match`.",
    "schema": {"type": "string"},
}
_LINK = {
    "description": "The next page (RFC 8288, `rel=next`); absent on the last.",
    "schema": {"type": "string"},
    "example": '</api/things?limit=100&cursor=eyJrIjpbXX0>; rel="next"',
}
_CHALLENGE = {"description": "How to authenticate (RFC 9110 §11.6.1).", "schema": {"type": "string"}}
_LOCATION = {"description": "Where it is from now on.", "schema": {"type": "string"}}
_REPLAYED = {
    "description": "`true` where the answer of an earlier request under the same `Idempotency-Key` is repeated.",
    "schema": {"type": "string", "const": "true"},
}
_PARAMETERS: Mapping[tuple[str, str], tuple[str, str | None]] = {
    ("header", "if-match"): (
        "The `ETag` that the change is based on (RFC 9110 §13.1.1). Stale: 412, and nothing changes. "
        "Without it the change is applied to whatever there is.",
        '"3"',
    ),
    ("header", "if-none-match"): ("An `ETag` that the caller holds; while it is current the answer is 304.", '"3"'),
    ("header", "idempotency-key"): (
        "Makes the request safe to repeat for 24 hours: the same key with the same body gets the first answer again, "
        "with another body 422. Bound to the caller and the route.",
        "5a1f9c0e-2b7d-4f6a-9d43-0f5f3c1f7a10",
    ),
    ("path", "slug"): ("Slug of the tenant or partner that the path names.", "acme"),
    ("path", "transfer"): ("Id of a request to take over a tenant.", "0198c0de-0000-7000-8000-000000000008"),
    ("path", "acceptance"): ("Id of an accepted difference.", "0198c0de-0000-7000-8000-000000000011"),
    ("path", "id"): ("Id of a saved report.", "0198c0de-0000-7000-8000-000000000009"),
    ("path", "person"): ("Id of a person.", "0198c0de-0000-7000-8000-000000000002"),
    ("path", "key"): ("Key of a flag.", "oci_versioning"),
    ("path", "verification"): ("Id of a verification.", "0198c0de-0000-7000-8000-000000000012"),
    ("path", "price_id"): ("Id of a price.", "0198c0de-0000-7000-8000-000000000003"),
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a client must know of an operation beyond its names and types.

    Attributes:
        text: follows the route's own sentence; what to expect, in CommonMark.
        answer: the body of its success, an example; None where there is no body.
        request: the body that it takes, an example; None if it takes none.
        refusals: errors of the use case, beside those that the signature says already.
        location: an example of ``Location``, where the success has one.
        others: examples of further answers that are no refusal, by status.
        csv: an example of the same answer as CSV, where it can be had.
        ndjson: an example of the same answer as lines of JSON, where it can be had.
    """

    text: str = ""
    answer: Json = None
    request: Json = None
    refusals: tuple[type[DomainError], ...] = ()
    location: str = ""
    others: Mapping[int, Json] = field(default_factory=dict)
    csv: str = ""
    ndjson: str = ""


Operations = Mapping[str, Described]
"""By the name of the route's function."""


def name_of(route: APIRoute) -> str:
    """The operation id: the name of the route's function, which is unique within a service."""
    return route.name


def described_by(app: FastAPI) -> Operations:
    """Return the descriptions that an application was made with."""
    operations: Operations = app.state.operations
    return operations


def documented(app: FastAPI, routers: Sequence[APIRouter]) -> Callable[[], dict[str, Any]]:
    """Return what makes the document of ``app`` with its ``routers``, once; for the place of ``app.openapi``."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, routes, described_by(app))
        return app.openapi_schema

    return openapi


def _document(app: FastAPI, routes: Sequence[APIRoute], operations: Operations) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for route in routes:
        if route.include_in_schema:
            for method in route.methods or ():
                written = document["paths"][route.path_format][method.lower()]
                _complete(written, route, operations.get(route.name, Described()))
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for made_by_the_framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(made_by_the_framework, None)
    shape = ProblemView.model_json_schema(by_alias=True, ref_template=SCHEMAS + "{model}")
    schemas.update(shape.pop("$defs", {}))
    schemas["ProblemView"] = shape
    return document


def _complete(operation: dict[str, Any], route: APIRoute, described: Described) -> None:
    operation["description"] = "\n\n".join(
        text for text in (operation.get("description", ""), described.text.strip()) if text
    )
    for parameter in operation.get("parameters", []):
        text, example = _PARAMETERS.get((parameter["in"], parameter["name"]), ("", None))
        parameter.setdefault("description", text or parameter["schema"].get("description", ""))
        if example is not None:
            parameter.setdefault("example", example)
    if described.request is not None:
        _shows(operation["requestBody"]["content"], described.request)
    # What a route says of its refusals has the shape of its answers; they are written anew, as problems.
    responses = {status: said for status, said in operation["responses"].items() if status < "4"}
    operation["responses"] = responses
    success = min(responses)
    for status, example in {int(success): described.answer, **described.others}.items():
        if example is not None:
            _shows(responses[str(status)]["content"], example)
    for kind, text in (("text/csv", described.csv), ("application/x-ndjson", described.ndjson)):
        if text:
            responses[success]["content"][kind] = {"schema": {"type": "string"}, "example": text}
    _headers(operation, success, described)
    refusals = [*_from_signature(operation, route), *described.refusals]
    by_status = sorted(dict.fromkeys(refusals), key=lambda kind: kind.status)
    for code, kinds in groupby(by_status, key=lambda kind: kind.status):
        responses[str(code)] = refusal(list(kinds), _wrong_field(operation, described))


def _shows(content: dict[str, Any], example: Json) -> None:
    content["application/json"]["example"] = example


def _headers(operation: dict[str, Any], success: str, described: Described) -> None:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    headers: dict[str, Any] = {}
    conditional = "if-match" in names or "304" in operation["responses"]
    if success != "204" and (conditional or (isinstance(described.answer, dict) and "version" in described.answer)):
        headers["ETag"] = _ETAG
    if "cursor" in names:
        headers["Link"] = _LINK
    if described.location:
        headers["Location"] = {**_LOCATION, "example": described.location}
    if "idempotency-key" in names:
        headers["Idempotency-Replayed"] = _REPLAYED
    if headers:
        operation["responses"][success]["headers"] = headers


def _from_signature(operation: dict[str, Any], route: APIRoute) -> Iterator[type[DomainError]]:
    """Yield the refusals that anybody can read from a route's signature."""
    parameters = operation.get("parameters", [])
    names = {parameter["name"] for parameter in parameters}
    for call in _dependencies(route.dependant):
        if is_operators_only(call):
            yield from (OperatorTokenRequired, InsufficientRole)
        elif is_partners_only(call):
            yield from (PartnerTokenRequired, InsufficientRole)
    if any(parameter["in"] == "path" for parameter in parameters):
        yield NotFound
    if "if-match" in names:
        yield StaleVersion
    if "idempotency-key" in names:
        yield from (IdempotencyInProgress, IdempotencyKeyReused)
    if "requestBody" in operation:
        yield MalformedRequest
    if "requestBody" in operation or any(parameter["in"] != "path" for parameter in parameters):
        yield Invalid


def _dependencies(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _dependencies(inner)


def _wrong_field(operation: dict[str, Any], described: Described) -> FieldError:
    """Return a fault that this operation could find in a request."""
    if isinstance(described.request, dict) and described.request:
        return FieldError(next(iter(described.request)), "missing", "Field required")
    names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
    if "limit" in names:
        return FieldError("limit", "less_than_equal", "Input should be less than or equal to 500")
    if names:
        return FieldError(names[0], "missing", "Field required")
    return FieldError("If-Match", "bad_etag", 'send the ETag as you got it, like "3", or leave the header out')


def refusal(
    kinds: Sequence[type[DomainError]], wrong: FieldError | None = None, *, schema: Mapping[str, Any] = PROBLEM_OF
) -> dict[str, Any]:
    """Return the response object of refusals that share a status: an example of each, by its code."""
    response: dict[str, Any] = {
        "description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds) + ".",
        "content": {
            PROBLEM_TYPE: {
                "schema": dict(schema),
                "examples": {kind.code: {"value": _example(kind, wrong)} for kind in kinds},
            }
        },
    }
    if kinds[0].status in {429, 503}:
        response["headers"] = {"Retry-After": RETRY_AFTER}
    if kinds[0].status == 401:
        response["headers"] = {"WWW-Authenticate": _CHALLENGE}
    return response


def _example(kind: type[DomainError], wrong: FieldError | None) -> Json:
    fields = [wrong] if kind is Invalid and wrong is not None else []
    detail = f"{wrong.field}: {wrong.message}" if fields and wrong is not None else ""
    body = problem(kind.status, kind.code, kind.title, detail=detail, request_id=REQUEST_ID, errors=fields)
    return orjson.loads(body)
