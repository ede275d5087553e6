"""The edge of every service: who is let in, what is believed, and that an answer is always a problem document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from structlog.testing import capture_logs

from shared import context
from shared.app import Platform, create_app
from shared.auth import ServicePrincipal
from shared.bodies import StrictRoute
from shared.errors import Conflict
from shared.mongo import DATABASE_UNAVAILABLE
from shared.policy import AnyPerson, Operator
from shared.schemas import Input
from shared.settings import ServiceSettings
from shared.testing import Callers, operator, person, public_keys, seed_text
from tests.integration.parts import collect_half_open_sockets

pytestmark = pytest.mark.unit

CALLERS = Callers("tenant")
NOWHERE = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=50&connectTimeoutMS=50"


def jane() -> dict[str, str]:
    """Her headers, with a token made now: it lasts a minute."""
    return CALLERS.headers(person())


class Body(Input):
    seats: int = 0


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What the service logs, instead of on the terminal."""
    with capture_logs() as entries:
        yield entries


def routes() -> APIRouter:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/about")
    async def about(_: AnyPerson) -> Any:
        seen = context.current()
        return {"requestId": seen.request_id, "traceparent": seen.traceparent, "clientIp": seen.client_ip}

    @router.get("/operators")
    async def operators(_: Operator) -> Any:
        return {}

    @router.post("/body")
    async def body(_: AnyPerson, sent: Body) -> Any:
        return sent

    @router.get("/conflict")
    async def conflict() -> Any:
        raise Conflict("two at once")

    @router.get("/broken")
    async def broken() -> Any:
        raise RuntimeError("password=hunter2")

    @router.get("/away")
    async def away() -> Any:
        raise DATABASE_UNAVAILABLE[0]("127.0.0.1:27017: connection refused")

    @router.get("/cut")
    async def cut() -> Response:
        async def halves() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("the source ended")

        return StreamingResponse(halves())

    @router.get("/hooks/{name}")
    async def hook(request: Request, name: str) -> Any:
        return {"principal": "dezky.principal" in request.scope, "clientIp": context.current().client_ip}

    return router


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    settings = ServiceSettings.model_validate(
        {
            "port": 1,
            "mongo_uri": NOWHERE,
            "mongo_database": "nothing",
            "nats_url": "nats://127.0.0.1:9",
            "internal_signing_key": seed_text("tenant"),
            "internal_signing_kid": "tenant-1",
            "internal_public_keys": public_keys(),
        }
    )
    made = Platform.build("tenant", settings)
    yield made
    await made.mongo.close()
    collect_half_open_sockets()


@pytest.fixture
async def http(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(platform, None, [routes()], indexes={}, public=("/hooks/",))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inner") as client:
        yield client


def code_of(reply: httpx.Response) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["status"] == reply.status_code
    assert document["requestId"] == reply.headers["x-request-id"] != ""
    return reply.status_code, document["code"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer x.y.z", "Basic amFuZTpq", "bearer é"])
async def test_without_a_valid_internal_token_nothing_answers(http: httpx.AsyncClient, authorization: Any) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    for path in ("/about", "/nothing", "/internal/openapi.json"):
        assert code_of(await http.get(path, headers=headers)) == (401, "unauthenticated")


async def test_headers_of_the_gateway_are_believed_beside_a_token_only(http: httpx.AsyncClient) -> None:
    claimed = {"x-request-id": "r-1", "traceparent": "00-1-2-01", "x-dezky-client-ip": "203.0.113.9"}
    seen = (await http.get("/about", headers={**jane(), **claimed})).json()
    assert seen == {"requestId": "r-1", "traceparent": "00-1-2-01", "clientIp": "203.0.113.9"}
    refused = await http.get("/about", headers=claimed)
    assert refused.json()["requestId"] != "r-1"
    hooked = await http.get("/hooks/stripe", headers=claimed)
    assert hooked.json() == {"principal": False, "clientIp": ""}
    assert hooked.headers["x-request-id"] != "r-1"


async def test_an_open_prefix_still_refuses_a_token_that_is_wrong(http: httpx.AsyncClient) -> None:
    assert code_of(await http.get("/hooks/stripe", headers={"authorization": "Bearer x"})) == (401, "unauthenticated")


async def test_liveness_needs_neither_token_nor_database(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert ready.json()["checks"]["nats"] == "away"


async def test_a_service_only_route_refuses_people_and_other_services(http: httpx.AsyncClient) -> None:
    billing = CALLERS.headers(ServicePrincipal(name="billing"))
    assert code_of(await http.get("/internal/openapi.json", headers=billing)) == (403, "service_only")
    gateway = CALLERS.headers(ServicePrincipal(name="gateway"))
    assert (await http.get("/internal/openapi.json", headers=gateway)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "route_not_found")),
        ("DELETE", "/about", (405, "method_not_allowed")),
        ("GET", "/conflict", (409, "conflict")),
        ("GET", "/broken", (500, "internal_error")),
        ("GET", "/away", (503, "unavailable")),
    ],
)
async def test_every_error_is_a_problem_document(
    http: httpx.AsyncClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    reply = await http.request(method, path, headers=jane())
    assert code_of(reply) == expected
    assert "hunter2" not in reply.text
    assert "27017" not in reply.text
    assert ("retry-after" in reply.headers) == (reply.status_code == 503)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "malformed_request")),
        (b"", (422, "invalid")),
        (b"\xff\xfe", (400, "malformed_request")),
        (b"[" * 100_000, (400, "malformed_request")),
        (b'{"seats": ' + b"9" * 5_000 + b"}", (400, "malformed_request")),
        (b'{"seats": "1"}', (422, "invalid")),
        (b'{"seats": 1e400}', (400, "malformed_request")),
        (b'{"seats": NaN}', (400, "malformed_request")),
        (b'{"seats": 1, "seats": 2}', (400, "malformed_request")),
        (b'{"$where": "1"}', (422, "invalid")),
        (b'{"\\ud800": 1}', (422, "invalid")),
        (b'{"\\u0000": 1}', (422, "invalid")),
        (b"null", (422, "invalid")),
        (b"[]", (422, "invalid")),
    ],
)
async def test_a_body_that_is_wrong_is_the_callers_fault(
    http: httpx.AsyncClient, body: bytes, expected: tuple[int, str]
) -> None:
    reply = await http.post("/body", content=body, headers={**jane(), "content-type": "application/json"})
    assert code_of(reply) == expected


async def test_a_refusal_that_cannot_be_recorded_is_no_refusal_but_a_503(http: httpx.AsyncClient) -> None:
    refused = await http.get("/operators", headers=jane())
    assert code_of(refused) == (503, "unavailable")
    assert refused.headers["retry-after"]
    assert (await http.get("/operators", headers=CALLERS.headers(operator()))).status_code == 200


async def test_an_answer_that_breaks_off_is_not_answered_twice(platform: Platform) -> None:
    app = create_app(platform, None, [routes()], indexes={})
    sent: list[str] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/cut",
        "raw_path": b"/cut",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in jane().items()],
    }
    with pytest.raises(Exception, match="the source ended"):
        await app(scope, receive, send)
    assert sent.count("http.response.start") == 1
