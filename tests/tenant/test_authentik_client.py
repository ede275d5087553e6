"""The client of Authentik: against answers as its API documents them, and against the stand-in over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.tenant.authentik import (
    Authentik,
    AuthentikAway,
    AuthentikBusy,
    AuthentikDenied,
    AuthentikMissing,
    AuthentikRejected,
)
from tests.sandbox.authentik.process import MEMBER, SEED, StandIn

USER = {
    "pk": 7,
    "uid": "ab" * 32,
    "username": "jane@acme.example",
    "email": "jane@acme.example",
    "name": "Jane",
    "is_active": True,
    "groups": ["9d2b"],
    "type": "internal",
    "is_superuser": False,
    "attributes": {"dezky": {"person": "p1"}},
    "unknown": "member",
}


def page(*rows: Any, following: int = 0) -> dict[str, Any]:
    return {"pagination": {"next": following, "previous": 0, "count": len(rows)}, "results": list(rows)}


def client(answer: Callable[[httpx.Request], httpx.Response], **more: Any) -> Authentik:
    return Authentik("http://authentik.test/", "token-of-the-api", transport=httpx.MockTransport(answer), **more)


def always(status: int, body: Any = None, **headers: str) -> Authentik:
    return client(lambda _: httpx.Response(status, json=body, headers=headers))


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (403, AuthentikDenied, "authentik_denied"),
        (401, AuthentikDenied, "authentik_denied"),
        (404, AuthentikMissing, "authentik_missing"),
        (405, AuthentikAway, "authentik_unavailable"),
        (500, AuthentikAway, "authentik_unavailable"),
        (503, AuthentikAway, "authentik_unavailable"),
        (302, AuthentikAway, "authentik_unavailable"),
    ],
)
async def test_a_status_is_a_typed_error(status: int, error: type[Exception], code: str) -> None:
    with pytest.raises(error) as raised:
        await always(status, {"detail": "Token invalid/expired"}).set_active(7, active=False)
    assert raised.value.code == code  # type: ignore[attr-defined]


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0", 1), ("99999", 300), ("soon", 1), ("", 1)])
async def test_a_throttled_call_says_when(header: str, seconds: int) -> None:
    with pytest.raises(AuthentikBusy) as raised:
        await always(429, {}, **{"retry-after": header}).accounts(username="x")
    assert raised.value.retry_after == seconds


async def test_a_field_map_is_flattened_also_when_it_nests_or_holds_a_bare_string() -> None:
    body = {"username": ["This field must be unique."], "non_field_errors": "Odd.", "a": {"b": ["c", "d"]}}
    with pytest.raises(AuthentikRejected) as raised:
        await always(400, body).create_account("jane@acme.example", "Jane", "p1")
    assert raised.value.fields == {
        "username": ["This field must be unique."],
        "non_field_errors": ["Odd."],
        "a.b": ["c", "d"],
    }


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"results": []}),
        httpx.Response(200, json=page({"pk": "seven"})),
        httpx.Response(200, json=page(None)),
    ],
)
async def test_an_answer_of_another_shape_is_no_answer(answer: httpx.Response) -> None:
    with pytest.raises(AuthentikAway):
        await client(lambda _: answer).accounts(username="x")


async def test_every_page_is_read_and_the_filter_is_exact() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        assert request.headers["authorization"] == "Bearer token-of-the-api"
        assert request.url.path == "/api/v3/core/users/"
        return httpx.Response(200, json=page(USER, following=2 if len(asked) == 1 else 0))

    found = await client(answer).accounts(email="jane@acme.example")
    assert [(account.pk, account.person, account.ordinary) for account in found] == [(7, "p1", True)] * 2
    assert [(query["email"], query["page"]) for query in asked] == [
        ("jane@acme.example", "1"),
        ("jane@acme.example", "2"),
    ]
    assert not any("search" in query for query in asked)


async def test_pages_without_end_are_given_up() -> None:
    with pytest.raises(AuthentikAway):
        await client(lambda _: httpx.Response(200, json=page(following=2))).accounts(email="x")


async def test_a_missing_recovery_flow_is_no_link_and_another_complaint_is_an_error() -> None:
    assert await always(400, {"non_field_errors": "No recovery flow set."}).recovery_link(7) is None
    assert await always(400, {"non_field_errors": ["No recovery flow set."]}).recovery_link(7) is None
    with pytest.raises(AuthentikRejected):
        await always(400, {"token_duration": ["wrong"]}).recovery_link(7)
    with pytest.raises(AuthentikAway):
        await always(200, {}).recovery_link(7)


async def test_a_group_is_looked_up_once_and_again_when_its_id_is_gone() -> None:
    calls: list[str] = []
    ids = iter(["old", "new"])

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(f"{request.method} {request.url.path.removeprefix('/api/v3/core/groups/')}")
        if request.method == "GET":
            return httpx.Response(200, json=page({"pk": next(ids), "name": "staff"}))
        gone = "old" in request.url.path and len(calls) > 2
        return httpx.Response(404, json={"detail": "No Group matches."}) if gone else httpx.Response(204)

    authentik = client(answer)
    await authentik.join(7, "staff")
    await authentik.join(8, "staff")
    assert calls == ["GET ", "POST old/add_user/", "POST old/add_user/", "GET ", "POST new/add_user/"]


async def test_a_group_that_somebody_made_meanwhile_is_taken() -> None:
    looks = iter([page(), page({"pk": "g", "name": "staff"})])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=next(looks))
        return httpx.Response(400, json={"name": ["group with this name already exists."]})

    assert await client(answer).group_id("staff") == "g"


async def test_a_call_ends_at_its_deadline_also_when_bytes_trickle() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    authentik = Authentik(f"http://127.0.0.1:{port}", "token", deadline=timedelta(seconds=0.3))
    started = asyncio.get_running_loop().time()
    with pytest.raises(AuthentikAway):
        await authentik.account(7)
    assert asyncio.get_running_loop().time() - started < 0.9
    await authentik.close()
    server.close()


@pytest.fixture
async def real(authentik: StandIn) -> AsyncIterator[Authentik]:
    made = Authentik(authentik.url, SEED["apiToken"])
    yield made
    await made.close()


async def test_over_the_wire_a_person_is_made_found_grouped_and_locked_out(real: Authentik) -> None:
    made = await real.create_account("Jane@acme.example", "Jane", "person-1")
    assert (made.username, made.is_active, made.person, made.ordinary) == ("Jane@acme.example", True, "person-1", True)
    assert await real.accounts(username="Jane@acme.example") == [made]
    assert await real.accounts(username="jane@acme.example") == []  # exact, letter case included
    with pytest.raises(AuthentikRejected) as raised:
        await real.create_account("Jane@acme.example", "Jane", "person-2")
    assert list(raised.value.fields) == ["username"]
    await real.join(made.pk, "made-for-this-test")
    await real.join(made.pk, "made-for-this-test")
    group = await real.group_id("made-for-this-test")
    seen = await real.account(made.pk)
    assert seen is not None
    assert seen.groups == (group,)
    await real.leave(made.pk, "made-for-this-test")
    await real.leave(made.pk, "made-for-this-test")
    await real.set_active(made.pk, active=False)
    seen = await real.account(made.pk)
    assert seen is not None
    assert (seen.groups, seen.is_active, seen.person) == ((), False, "person-1")
    assert await real.account(999_999) is None
    assert await real.recovery_link(made.pk) is None
    await real.set_password(made.pk, "a password of sixteen")


async def test_over_the_wire_the_uid_is_the_subject_of_tokens(real: Authentik, authentik: StandIn) -> None:
    (found,) = await real.accounts(username=MEMBER["username"])
    assert authentik.claims("dezky-portal", MEMBER)["sub"] == found.uid


async def test_over_the_wire_a_bad_token_is_denied(authentik: StandIn) -> None:
    stranger = Authentik(authentik.url, "not-the-token-of-the-api")
    with pytest.raises(AuthentikDenied):
        await stranger.accounts(username="x")
    await stranger.close()
