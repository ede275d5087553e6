"""Attacks on the browser sign-in: on the way to the provider and back, on the cookie, on what NATS holds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from datetime import timedelta

import httpx
import nats
import orjson
import pytest
from nats.errors import TimeoutError as NatsTimeout

from gateway.sealing import Keyring
from infrastructure.local.servers.nats import NatsServer
from tests.gateway.browsing import KEY, PREFIX, Site, administrator, events, query_of, site
from tests.sandbox.authentik.browser import introspected
from tests.sandbox.authentik.process import MEMBER, OPERATOR
from tests.support.servers import free_port, nats_url
from tests.support.waiting import eventually

COOKIE = "__Host-dezky-portal"
LOGIN_COOKIE = "__Host-dezky-portal-login"
BUCKET = f"{PREFIX}-gateway-sessions"


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# -- on the way to the provider and back


async def test_an_answer_counts_once_even_with_the_cookie_that_began_it(entrance: Site) -> None:
    visitor = entrance.visitor()
    target = await entrance.begin(visitor)
    login = dict(visitor.cookies)
    back = await entrance.at_the_provider(target, MEMBER)
    assert (await visitor.get(back)).status_code == 303
    assert LOGIN_COOKIE not in visitor.cookies
    assert code_of(await visitor.get(back)) == (400, "login_refused")
    # The cookie kept, and a code that was never used: the state is used up all the same.
    thief = entrance.visitor()
    thief.cookies = login
    fresh = await entrance.at_the_provider(target, MEMBER)
    asked = entrance.token_requests()
    assert code_of(await thief.get(fresh)) == (400, "login_refused")
    assert entrance.token_requests() == asked
    assert COOKIE not in thief.cookies


async def test_a_stolen_code_opens_nothing_in_another_browser(entrance: Site) -> None:
    victim, thief = entrance.visitor(), entrance.visitor()
    stolen = await entrance.at_the_provider(await entrance.begin(victim), MEMBER)
    assert code_of(await entrance.visitor().get(stolen)) == (400, "login_refused")
    own_state = query_of(await entrance.begin(thief))["state"]
    assert code_of(await thief.get(stolen)) == (400, "login_refused")
    mixed = f"/auth/portal/callback?code={query_of(stolen)['code']}&state={own_state}"
    assert code_of(await thief.get(mixed)) == (400, "login_refused")  # the provider knows another verifier
    assert COOKIE not in thief.cookies


async def test_nobody_is_signed_in_with_an_attackers_answer(entrance: Site) -> None:
    attacker, victim = entrance.visitor(), entrance.visitor()
    bait = await entrance.at_the_provider(await entrance.begin(attacker), OPERATOR)
    target = await entrance.begin(victim)
    asked = entrance.token_requests()
    assert code_of(await victim.get(bait)) == (400, "login_refused")
    assert entrance.token_requests() == asked
    assert COOKIE not in victim.cookies
    own = await entrance.at_the_provider(target, MEMBER)
    assert (await victim.get(own)).status_code == 303  # the bait has not used up what the victim began


async def test_a_sign_in_that_took_longer_than_ten_minutes_is_begun_again(entrance: Site) -> None:
    visitor = entrance.visitor()
    back = await entrance.at_the_provider(await entrance.begin(visitor), MEMBER)
    entrance.clock.shift = timedelta(minutes=10)
    asked = entrance.token_requests()
    assert code_of(await visitor.get(back)) == (400, "login_refused")
    assert entrance.token_requests() == asked


async def test_a_sign_in_of_one_surface_does_not_end_on_the_other(entrance: Site) -> None:
    visitor = entrance.visitor()
    back = await entrance.at_the_provider(await entrance.begin(visitor), MEMBER)
    visitor.cookies["__Host-dezky-operator-login"] = visitor.cookies[LOGIN_COOKIE]
    assert code_of(await visitor.get(back.replace("portal", "operator"))) == (400, "login_refused")


NO_ANSWERS = [
    ("&code=abc&iss=https://evil.example/", (400, "login_refused")),
    ("&error=access_denied", (403, "sign_in_refused")),
    ("&error=%3Cscript%3E", (403, "sign_in_refused")),
    ("", (400, "login_refused")),
    ("&code=1&code=2", (400, "bad_request")),
    ("&state=x", (400, "bad_request")),
    ("&code=%FF", (400, "bad_request")),
]


async def test_an_answer_that_is_none_is_refused(entrance: Site) -> None:
    asked = entrance.token_requests()
    for extra, expected in NO_ANSWERS:
        visitor = entrance.visitor()
        state = query_of(await entrance.begin(visitor))["state"]
        answer = await visitor.get(f"/auth/portal/callback?state={state}{extra}")
        assert code_of(answer) == expected, extra
        assert "script" not in answer.text
        assert COOKIE not in visitor.cookies
    assert entrance.token_requests() == asked


ELSEWHERE = [
    "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "evil", "",
    "javascript:alert(1)", "/a\r\nset-cookie: x=1", "/%0d%0a\n", "/a\\b", " /a", "/a b", "/\u00e9", "/" + "a" * 3000,
]  # fmt: skip


async def test_nobody_is_sent_to_another_site_after_signing_in(entrance: Site) -> None:
    visitor = entrance.visitor()
    for place in ELSEWHERE:
        answer = await visitor.send("GET", "/auth/portal/login", params={"returnTo": place})
        assert code_of(answer) == (400, "invalid_return_to"), place
    assert visitor.cookies == {}


async def test_the_pages_take_the_methods_that_they_have_and_no_other(entrance: Site) -> None:
    visitor = entrance.visitor()
    for page, allowed in (("login", "GET"), ("callback", "GET"), ("session", "GET"), ("logout", "POST")):
        for method in {"GET", "POST", "PUT", "DELETE", "HEAD"} - {allowed}:
            answer = await visitor.send(method, f"/auth/portal/{page}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    for path in ("/auth/portal/elsewhere", "/auth/nobody/login", "/auth/portal", "/auth/portal/login/"):
        assert (await visitor.get(path)).status_code == 404


# -- on the cookie


async def test_neither_surface_opens_the_others_session(entrance: Site) -> None:
    member, operator = await entrance.sign_in(MEMBER), await entrance.sign_in(OPERATOR, "operator")
    for surface, value in (
        ("operator", member.cookies[COOKIE]),
        ("portal", operator.cookies["__Host-dezky-operator"]),
    ):
        foreign = entrance.visitor(**{f"dezky-{surface}": value})
        assert code_of(await foreign.get("/api/me")) == (401, "session_over")
        assert (await foreign.get(f"/auth/{surface}/session")).status_code == 401
    assert entrance.service.seen == []


async def test_a_portal_session_does_not_open_what_is_for_operators(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    assert code_of(await visitor.get("/api/users")) == (403, "operator_token_required")
    answer = await visitor.get("/api/users", x_dezky_surface="operator")
    assert code_of(answer) == (401, "unauthenticated")


def _flip(value: str, place: int) -> str:
    other = "A" if value[place] != "A" else "B"
    return value[:place] + other + value[place + 1 :]


async def test_a_cookie_that_was_changed_anywhere_opens_nothing(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    value = visitor.cookies[COOKIE]
    changed = [_flip(value, place) for place in range(0, len(value), 3)]
    changed += [value[:-1], value + "A", value + "=", value[:20], "", "A", "." * 40, value[::-1], f'"{value}"']
    for forged in changed:
        answer = await entrance.visitor(**{"dezky-portal": forged}).get("/api/me")
        assert answer.status_code == 401, forged
    assert (await visitor.get("/api/me")).status_code == 200


async def test_a_cookie_that_is_there_twice_is_nobodys(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    line = f"{COOKIE}={visitor.cookies[COOKIE]}; {COOKIE}=planted"
    answer = await visitor.send("GET", "/api/me", headers={"cookie": line})
    assert code_of(answer) == (400, "invalid_request")


NOT_OURS: list[dict[str, str]] = [
    {},
    {"x-dezky-csrf": "1"},
    {"origin": "OWN"},
    {"x-dezky-csrf": "0", "origin": "OWN"},
    {"x-dezky-csrf": "1", "origin": "https://evil.example"},
    {"x-dezky-csrf": "1", "origin": "null"},
    {"x-dezky-csrf": "1", "origin": "OWN.evil.example"},
    {"x-dezky-csrf": "1", "origin": "OWN/"},
    {"x-dezky-csrf": "1, 1", "origin": "OWN"},
    {"x-dezky-csrf": "1", "referer": "OWN/"},
]
WRITES = ("POST", "PUT", "PATCH", "DELETE")


async def test_a_write_that_our_page_did_not_send_is_rejected(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    for method, headers in itertools.product(WRITES, NOT_OURS):
        sent = {name: value.replace("OWN", entrance.public_url) for name, value in headers.items()}
        answer = await visitor.send(method, "/api/tenants", headers=sent)
        assert code_of(answer) == (403, "csrf_rejected"), (method, headers)
    assert entrance.service.seen == []


async def test_a_write_of_our_own_page_goes_through(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    for method in WRITES:
        answer = await visitor.write("/api/tenants", entrance.public_url, method)
        assert answer.status_code == 200
        seen = {name for name, _ in entrance.service.last.fields}
        assert not {name for name in seen if name.startswith((b"x-dezky-csrf", b"x-dezky-surface", b"cookie"))}


async def test_a_foreign_page_signs_nobody_out(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    for headers in ({}, {"x-dezky-csrf": "1", "origin": "https://evil.example"}):
        answer = await visitor.send("POST", "/auth/portal/logout", headers=headers)
        assert code_of(answer) == (403, "csrf_rejected")
    assert (await visitor.get("/api/me")).status_code == 200


# -- on what NATS holds


async def _held(server: NatsServer) -> list[tuple[str, bytes]]:
    """Everything that an administrator of NATS sees in the bucket."""
    found = []
    async with administrator(server) as admin:
        sequence = 1
        while True:
            question = orjson.dumps({"seq": sequence, "next_by_subj": f"$KV.{BUCKET}.>"})
            answer = orjson.loads((await admin.request(f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}", question)).data)
            if "error" in answer:
                return found
            message = answer["message"]
            found.append((message["subject"], base64.b64decode(message.get("data", ""))))
            sequence = message["seq"] + 1


async def test_nats_holds_neither_a_usable_cookie_nor_a_token_nor_a_name(
    entrance: Site, fleet_nats: NatsServer
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    record = (await entrance.stored(visitor)).record
    cookie = visitor.cookies[COOKIE]
    plain, _ = Keyring([KEY]).sealer("portal cookie").open(base64.urlsafe_b64decode(cookie + "=="), COOKIE)
    session_id = plain[:32]
    hidden = [cookie.encode(), session_id, session_id.hex().encode(), base64.urlsafe_b64encode(session_id)[:-1]]
    hidden += [hashlib.sha256(session_id).hexdigest().encode(), record.access_token.encode(), b"mia@acme", b"Mia"]
    hidden += [str(record.refresh_token).encode(), record.subject.encode()]
    held = await _held(fleet_nats)
    assert [key for key, _ in held if key.startswith(f"$KV.{BUCKET}.portal.")]
    everything = b"\n".join(key.encode() + b" " + value for key, value in held)
    assert [secret for secret in hidden if secret in everything] == []
    for key, value in held:  # and neither key nor value works as a cookie
        for forged in (key.rpartition(".")[2], base64.urlsafe_b64encode(value).rstrip(b"=").decode()[:3000]):
            assert (await entrance.visitor(**{"dezky-portal": forged}).get("/api/me")).status_code == 401


async def test_who_writes_to_nats_cannot_lend_a_session_to_another_cookie(
    entrance: Site, fleet_nats: NatsServer
) -> None:
    visitor, other = await entrance.sign_in(MEMBER), await entrance.sign_in(OPERATOR)
    mine, theirs = await entrance.stored(visitor), await entrance.stored(other)
    async with administrator(fleet_nats) as admin:
        await admin.request(f"$KV.{BUCKET}.{mine.key}", theirs.entry.value, timeout=5)
    assert (await visitor.get("/api/me")).status_code == 401


@pytest.mark.parametrize("process", ["tenant", "audit"])
async def test_no_other_process_reads_or_writes_the_sessions(
    entrance: Site, fleet_nats: NatsServer, process: str
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.stored(visitor)
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error).lower())

    connection = await nats.connect(
        nats_url(fleet_nats, process), error_cb=note, inbox_prefix=f"_INBOX.{process}".encode()
    )
    question = orjson.dumps({"last_by_subj": f"$KV.{BUCKET}.{stored.key}"})
    attempts = [
        (f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}", question),
        (f"$JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{stored.key}", b""),
        (f"$KV.{BUCKET}.{stored.key}", b"overwritten"),
        (f"$JS.API.CONSUMER.CREATE.KV_{BUCKET}", b"{}"),
    ]
    try:
        for subject, payload in attempts:
            with pytest.raises(NatsTimeout):
                await connection.request(subject, payload, timeout=0.15)

        async def all_named() -> bool:
            return all(any(subject.lower() in line for line in refused) for subject, _ in attempts)

        await eventually(all_named, seconds=5)
    finally:
        await connection.close()
    assert (await visitor.get("/api/me")).status_code == 200


async def test_logs_and_metrics_know_no_code_no_state_no_cookie_and_no_token(
    fleet_nats: NatsServer, entrance: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    # A replica that begins to write while the test listens.
    async with site(fleet_nats, entrance.provider, free_port(), public_port=entrance.port) as replica:
        visitor = replica.visitor()
        target = await replica.begin(visitor)
        back = await replica.at_the_provider(target, MEMBER)
        hidden = {query_of(target)["state"], query_of(back)["code"], visitor.cookies[LOGIN_COOKIE]}
        assert (await visitor.get(back)).status_code == 303
        record = (await replica.stored(visitor)).record
        hidden |= {visitor.cookies[COOKIE], record.access_token, str(record.refresh_token), str(record.id_token)}
        assert (await visitor.get(back)).status_code == 400
        assert (await visitor.get(f"/auth/portal/callback?code=x&state={query_of(target)['state']}")).status_code == 400
        assert (await visitor.write("/auth/portal/logout", replica.public_url)).status_code == 303
        numbers = (await visitor.get("/metrics")).text
    written = "".join(capsys.readouterr()) + numbers
    assert '"route":"/auth/{surface}/callback","status":400' in written
    assert "session.ended" in written
    assert [secret for secret in hidden if secret in written or secret in repr(record)] == []


async def test_a_session_that_has_ended_leaves_no_value_in_nats(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.stored(visitor)
    assert (await visitor.write("/auth/portal/logout", entrance.public_url)).status_code == 303
    left = [value for key, value in await _held(fleet_nats) if key.endswith(stored.key)]
    assert left == [b""]


# -- on the renewal


async def test_new_tokens_survive_a_nats_that_is_away_when_they_come(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    old = await entrance.age_token(visitor)
    delay = {"effect": "delay", "pathPrefix": "/application/o/token/", "latencyMs": 400}
    assert entrance.provider.http.post("/_sandbox/faults", json=delay).status_code == 201
    request = asyncio.create_task(visitor.get("/api/me"))
    store = entrance.store()

    async def claimed() -> bool:
        found = await store.read(old.key)
        return found is not None and found.record.renewing is not None

    await eventually(claimed)
    fleet_nats.kill()

    async def used_up() -> bool:
        facts = await asyncio.to_thread(introspected, entrance.provider, str(old.record.refresh_token))
        return facts["active"] is False

    await eventually(used_up)
    fleet_nats.start()
    assert (await request).status_code == 200
    assert (await entrance.stored(visitor)).record.refresh_token != old.record.refresh_token


async def test_a_half_ended_session_opens_nothing_and_its_end_is_published_once(
    entrance: Site, fleet_nats: NatsServer
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.stored(visitor)
    ending = {"event_id": "0198c0de-0000-7000-8000-00000000e4d1", "reason": "signed_out", "at": 1.0}
    ending |= {"address": None, "request_id": None}
    half = type(stored.record).model_validate({**stored.record.model_dump(), "ending": ending})
    await entrance.store().write(stored, ending=half.ending)
    for _ in range(2):
        assert code_of(await visitor.get("/api/me")) == (401, "session_over")
    ends = [e for e in await events(fleet_nats, "session.ended.v1") if e["subject"].endswith(stored.record.id)]
    assert [event["id"] for event in ends] == [ending["event_id"]]
