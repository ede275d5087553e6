"""Signing in with a browser, against a real provider process and a real nats-server with the fleet's permissions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson

from infrastructure.local.servers.nats import NatsServer
from shared.auth import InternalTokenVerifier
from shared.clock import SystemClock
from shared.contracts.session import SessionEnded, SessionStarted
from shared.testing import public_keys
from shared.topology import Topology
from tests.gateway.browsing import (
    PREFIX,
    Site,
    Visitor,
    administrator,
    events,
    query_of,
    site,
)
from tests.sandbox.authentik.process import MEMBER, OPERATOR, StandIn
from tests.support.servers import free_port
from tests.support.waiting import eventually

COOKIE = "__Host-dezky-portal"


def principal(entrance: Site) -> Any:
    line = entrance.service.last.field(b"authorization")
    assert line is not None
    return InternalTokenVerifier("tenant", public_keys(), SystemClock()).verify(line.decode().removeprefix("Bearer "))


async def test_a_person_signs_in_and_is_who_they_are_to_the_services(entrance: Site) -> None:
    visitor = entrance.visitor()
    target = await entrance.begin(visitor, return_to="/tenants/acme?tab=people")
    asked = query_of(target)
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 43
    assert len(asked["nonce"]) >= 43
    back = await entrance.at_the_provider(target, MEMBER)
    answer = await visitor.get(back)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{entrance.public_url}/tenants/acme?tab=people"
    assert set(visitor.cookies) == {COOKIE}
    told = await visitor.get("/api/me")
    assert told.status_code == 200
    person = principal(entrance)
    assert (person.email, person.surface) == ("mia@acme.example", "portal")
    assert entrance.service.last.field(b"cookie") is None


async def test_the_cookie_is_locked_to_this_host_and_out_of_the_reach_of_scripts(entrance: Site) -> None:
    visitor = entrance.visitor()
    back = await entrance.at_the_provider(await entrance.begin(visitor), MEMBER)
    answer = await visitor.get(back)
    (line,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{COOKIE}=")]
    attributes = {part.strip() for part in line.split(";")[1:]}
    assert attributes == {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_session_says_who_is_signed_in_and_until_when(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    answer = await visitor.get("/auth/portal/session")
    assert answer.status_code == 200
    document = answer.json()
    assert document["signedIn"] is True
    assert document["person"] == {"name": "Mia Member", "email": "mia@acme.example"}
    stored = await entrance.stored(visitor)
    assert stored.record.ends_at - stored.record.started_at == 12 * 3600
    assert document["expiresAt"].endswith("Z")


async def test_nobody_is_signed_in_without_a_cookie(entrance: Site) -> None:
    answer = await entrance.visitor().get("/auth/portal/session")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthenticated"


async def test_both_surfaces_are_signed_in_beside_each_other(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    operator = await entrance.sign_in(OPERATOR, "operator")
    visitor.cookies |= operator.cookies
    for surface, email in (("portal", "mia@acme.example"), ("operator", "operator@dezky.local")):
        assert (await visitor.get("/api/me", x_dezky_surface=surface)).status_code == 200
        assert (principal(entrance).surface, principal(entrance).email) == (surface, email)
    answer = await visitor.get("/api/me")
    assert (answer.status_code, answer.json()["code"]) == (400, "surface_required")
    assert (await visitor.get("/api/users")).status_code == 200  # a route for operators only
    assert (await visitor.get("/api/me", x_dezky_surface="both")).json()["code"] == "invalid_surface"


async def test_a_bearer_token_counts_before_any_cookie(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    token = entrance.provider.token("dezky-operator", OPERATOR, scope="openid profile email").json()["access_token"]
    answer = await visitor.send("POST", "/api/tenants", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200  # and no CSRF check: no browser sends such a field by itself
    assert principal(entrance).surface == "operator"


async def test_a_start_and_an_end_are_published_before_the_answer(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.stored(visitor)
    started = (await events(fleet_nats, "session.started.v1"))[-1]
    assert started["source"] == "gateway"
    assert started["subject"] == f"sessions/{stored.record.id}"
    data = SessionStarted.model_validate(started["data"])
    assert (data.actor.type, data.actor.email, data.actor.ip) == ("user", "mia@acme.example", "127.0.0.1")
    assert data.state.surface == "portal"
    assert (await visitor.write("/auth/portal/logout", entrance.public_url)).status_code == 303
    ended = (await events(fleet_nats, "session.ended.v1"))[-1]
    assert SessionEnded.model_validate(ended["data"]).reason == "signed_out"
    assert ended["subject"] == started["subject"]
    cookie = stored.record
    for event in (started, ended):
        text = orjson.dumps(event).decode()
        assert cookie.access_token not in text
        assert str(cookie.refresh_token) not in text


async def test_signing_out_ends_the_session_here_and_at_the_provider(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    before = dict(visitor.cookies)
    answer = await visitor.write("/auth/portal/logout", entrance.public_url)
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location.startswith(f"{entrance.provider.url}/application/o/dezky-portal/end-session/?")
    assert query_of(location)["post_logout_redirect_uri"] == f"{entrance.public_url}/"
    assert visitor.cookies == {}
    left = entrance.provider.client().get(location)
    assert left.headers["location"] == f"{entrance.public_url}/"
    visitor.cookies = before
    again = await visitor.get("/api/me")
    assert (again.status_code, again.json()["code"]) == (401, "session_over")


async def test_a_script_that_signs_out_is_told_where_to_go(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    answer = await visitor.write("/auth/portal/logout", entrance.public_url, accept="application/json")
    assert answer.status_code == 200
    assert answer.json()["location"].startswith(entrance.provider.url)


async def test_signing_in_again_ends_the_session_before(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    first = dict(visitor.cookies)
    back = await entrance.at_the_provider(await entrance.begin(visitor), MEMBER)
    assert (await visitor.get(back)).status_code == 303
    assert visitor.cookies[COOKIE] != first[COOKIE]
    assert (await entrance.visitor().send("GET", "/api/me", headers=_cookie(first))).status_code == 401
    reasons = [event["data"]["reason"] for event in await events(fleet_nats, "session.ended.v1")]
    assert reasons[-1] == "signed_in_again"


def _cookie(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


async def test_concurrent_requests_of_two_replicas_renew_an_expired_token_once(
    entrance: Site, fleet_nats: NatsServer, provider: StandIn
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    old = await entrance.age_token(visitor)
    delay = {"effect": "delay", "pathPrefix": "/application/o/token/", "latencyMs": 300}
    assert provider.http.post("/_sandbox/faults", json=delay).status_code == 201
    asked = entrance.token_requests()
    async with site(fleet_nats, provider, free_port(), public_port=entrance.port) as replica:
        twin = Visitor(f"http://127.0.0.1:{replica.port}", replica.http, dict(visitor.cookies))
        answers = await asyncio.gather(*(who.get("/api/me") for who in (visitor, twin) * 3))
        assert [answer.status_code for answer in answers] == [200] * 6
        assert entrance.token_requests() - asked == 1
        new = await entrance.stored(visitor)
        assert new.record.refresh_token != old.record.refresh_token
        assert new.record.access_token != old.record.access_token
        assert new.record.renewing is None
        assert (await twin.get("/api/me")).status_code == 200
    assert entrance.token_requests() - asked == 1


async def test_a_renewal_that_died_half_way_is_taken_over(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stale = {"by": "a process that is gone", "until": entrance.clock.now().timestamp() - 1}
    store, stored = entrance.store(), await entrance.age_token(visitor)
    claimed = stored.record.model_validate({**stored.record.model_dump(), "renewing": stale})
    await store.write(stored, renewing=claimed.renewing)
    assert (await visitor.get("/api/me")).status_code == 200
    assert (await entrance.stored(visitor)).record.renewing is None


async def test_a_provider_that_is_away_costs_nobody_the_session(entrance: Site, provider: StandIn) -> None:
    visitor = await entrance.sign_in(MEMBER)
    await entrance.age_token(visitor)
    fault = {"effect": "error", "pathPrefix": "/application/o/token/"}
    assert provider.http.post("/_sandbox/faults", json=fault).status_code == 201
    answer = await visitor.get("/api/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    provider.http.delete("/_sandbox/faults")
    assert (await visitor.get("/api/me")).status_code == 200


async def test_a_session_that_the_provider_does_not_renew_is_over(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.age_token(visitor)
    await entrance.store().write(stored, refresh_token="used up long ago")
    for _ in range(2):
        answer = await visitor.get("/api/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "session_over")
    ends = [e for e in await events(fleet_nats, "session.ended.v1") if e["subject"].endswith(stored.record.id)]
    assert [event["data"]["reason"] for event in ends] == ["provider_refused"]


async def test_twelve_hours_end_a_session_however_much_it_is_used(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    stored = await entrance.stored(visitor)
    entrance.clock.shift = timedelta(hours=12, seconds=-5)
    assert (await visitor.get("/auth/portal/session")).status_code == 200
    entrance.clock.shift = timedelta(hours=12)
    answer = await visitor.get("/api/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "session_over")
    assert (await visitor.get("/auth/portal/session")).status_code == 401
    assert visitor.cookies == {}
    ends = [e for e in await events(fleet_nats, "session.ended.v1") if e["subject"].endswith(stored.record.id)]
    assert [event["data"]["reason"] for event in ends] == ["expired"]


async def test_an_idle_session_is_over_when_its_bucket_has_dropped_it(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    async with administrator(fleet_nats) as admin:
        (config,) = Topology(PREFIX).bucket_configs()
        short = {**config, "max_age": 10**9, "duplicate_window": 10**9}
        await admin.request(f"$JS.API.STREAM.UPDATE.{config['name']}", orjson.dumps(short), timeout=5)

        async def over() -> bool:
            return (await visitor.get("/api/me")).status_code == 401

        await eventually(over, seconds=10, pause=0.2)


async def test_use_puts_off_the_idle_limit_at_most_once_a_minute(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    first = await entrance.stored(visitor)
    for _ in range(3):
        await visitor.get("/api/me")
    assert (await entrance.stored(visitor)).entry.revision == first.entry.revision
    entrance.clock.shift = timedelta(seconds=61)
    await visitor.get("/auth/portal/session")
    assert (await entrance.stored(visitor)).entry.revision == first.entry.revision  # asking is not using
    for _ in range(3):
        assert (await visitor.get("/api/me")).status_code == 200
    touched = await entrance.stored(visitor)
    assert touched.record.touched_at - first.record.touched_at >= 61
    entrance.clock.shift = timedelta(seconds=90)
    await visitor.get("/api/me")
    assert (await entrance.stored(visitor)).entry.revision == touched.entry.revision


async def test_the_provider_ends_the_sessions_of_a_person_whose_session_there_has_ended(
    entrance: Site, fleet_nats: NatsServer
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    other = await entrance.sign_in(OPERATOR)
    stored = await entrance.stored(visitor)
    (user,) = entrance.provider.results("/core/users/", username=MEMBER["username"])
    path = f"/core/users/{user['pk']}/"
    assert entrance.provider.api("PATCH", path, {"is_active": False}).status_code == 200

    async def over() -> bool:
        return (await visitor.get("/api/me")).status_code == 401

    await eventually(over)
    assert (await other.get("/api/me")).status_code == 200
    ends = [e for e in await events(fleet_nats, "session.ended.v1") if e["subject"].endswith(stored.record.id)]
    assert [event["data"]["reason"] for event in ends] == ["provider_logout"]
    assert entrance.provider.api("PATCH", path, {"is_active": True}).status_code == 200


async def test_without_nats_cookies_wait_and_bearer_tokens_go_on(entrance: Site, fleet_nats: NatsServer) -> None:
    visitor = await entrance.sign_in(MEMBER)
    token = entrance.provider.token("dezky-portal", MEMBER, scope="openid profile email").json()["access_token"]
    fleet_nats.kill()
    try:
        for path in ("/api/me", "/auth/portal/session"):
            answer = await visitor.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "sessions_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        logout = await visitor.write("/auth/portal/logout", entrance.public_url)
        assert logout.status_code == 503
        assert COOKIE in visitor.cookies
        bearer = await entrance.visitor().get("/api/me", authorization=f"Bearer {token}")
        assert bearer.status_code == 200
    finally:
        fleet_nats.start()

    async def back() -> bool:
        return (await visitor.get("/api/me")).status_code == 200

    await eventually(back)


async def test_a_deactivated_person_gets_no_session(entrance: Site) -> None:
    entrance.people.changes = {"active": False}
    visitor = entrance.visitor()
    back = await entrance.at_the_provider(await entrance.begin(visitor), MEMBER)
    answer = await visitor.get(back)
    assert (answer.status_code, answer.json()["code"]) == (403, "person_deactivated")
    assert visitor.cookies == {}


async def test_a_renewed_key_goes_on_opening_what_the_old_one_sealed(
    entrance: Site, fleet_nats: NatsServer, provider: StandIn
) -> None:
    visitor = await entrance.sign_in(MEMBER)
    old, new = bytes(range(32)), bytes(range(32, 64))
    for keys, status in (((new, old), 200), ((new,), 401)):
        async with site(fleet_nats, provider, free_port(), public_port=entrance.port, keys=keys) as rotated:
            twin = Visitor(f"http://127.0.0.1:{rotated.port}", rotated.http, dict(visitor.cookies))
            assert (await twin.get("/api/me")).status_code == status
