"""The gateway as a process: settings, its own endpoints, the merged document, start and end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import orjson
import pytest

from gateway.endpoints import readiness
from gateway.main import build
from gateway.openapi import merge
from gateway.routes import RouteTable
from gateway.settings import GatewaySettings
from shared.settings import load
from shared.testing import seed_text
from tests.gateway.running import answering, running
from tests.support.servers import free_port

PROVIDER = {
    "issuer": "http://127.0.0.1:9/o/dezky-portal/",
    "audiences": ["dezky-portal"],
    "algorithms": ["RS256"],
    "surface": "portal",
    "identityProvider": "authentik",
    "jwksUri": "http://127.0.0.1:9/jwks",
}
ENVIRONMENT = {
    "GATEWAY_PROVIDERS": orjson.dumps([PROVIDER]).decode(),
    "GATEWAY_UPSTREAMS": '{"tenant": "http://127.0.0.1:9"}',
    "GATEWAY_INTERNAL_SIGNING_KEY": seed_text("gateway"),
    "GATEWAY_INTERNAL_SIGNING_KID": "gateway-1",
}


def _environment(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    for name, value in {**ENVIRONMENT, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.unit
def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, GATEWAY_PORT="18080", GATEWAY_TRUSTED_PROXIES='["10.0.0.0/8"]')
    settings = load(GatewaySettings)
    assert (settings.host, settings.port, settings.base_url) == ("127.0.0.1", 18080, "http://127.0.0.1:18080")
    assert settings.providers[0].surface == "portal"
    assert settings.nats_url is None
    assert build(settings).routes.match("/api/me")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"GATEWAY_PROVIDERS": None}, "GATEWAY_PROVIDERS: is not set"),
        ({"GATEWAY_PROVIDERS": "[]"}, "GATEWAY_PROVIDERS: "),
        ({"GATEWAY_PROVIDERS": orjson.dumps([{**PROVIDER, "algorithms": []}]).decode()}, "algorithms: names none"),
        ({"GATEWAY_PROVIDERS": orjson.dumps([{**PROVIDER, "audiences": []}]).decode()}, "audiences: names none"),
        ({"GATEWAY_PROVIDERS": orjson.dumps([{**PROVIDER, "algorithms": ["HS256"]}]).decode()}, "RS256, PS256"),
        ({"GATEWAY_UPSTREAMS": '{"audit": "http://a:1"}'}, "GATEWAY_UPSTREAMS: "),
        ({"GATEWAY_UPSTREAMS": '{"tenant": "ftp://a"}'}, "GATEWAY_UPSTREAMS.tenant: "),
        ({"GATEWAY_INTERNAL_SIGNING_KEY": None}, "GATEWAY_INTERNAL_SIGNING_KEY: is not set"),
        ({"GATEWAY_INTERNAL_SIGNING_KEY": "c2hvcnQ"}, "GATEWAY_INTERNAL_SIGNING_KEY: "),
        ({"GATEWAY_TRUSTED_PROXIES": '["10.0.0.1/8"]'}, "GATEWAY_TRUSTED_PROXIES.0: "),
        ({"GATEWAY_PORT": "0"}, "GATEWAY_PORT: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], line: str
) -> None:
    _environment(monkeypatch, **changes)
    with pytest.raises(SystemExit) as left:
        load(GatewaySettings)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert line in said
    assert len(said.splitlines()) == 1
    assert seed_text("gateway") not in said


# -- its own endpoints


async def test_liveness_and_metrics_need_nobody() -> None:
    async with running(dead=("tenant", "health")) as gateway:
        alive = await gateway.get("/livez", token="")
        assert (alive.status, orjson.loads(alive.body)) == (200, {"status": "alive"})
        await gateway.get("/api/tenants/acme")
        text = (await gateway.get("/metrics", token="")).body.decode()
        assert 'dezky_gateway_requests_total{method="GET",route="/api/tenants",status="503"} 1.0' in text
        assert "acme" not in text
        assert 'dezky_gateway_upstream_connections{service="tenant",state="idle"} 0.0' in text


@pytest.mark.parametrize(
    ("keys", "nats", "status"), [("ok", "off", 200), ("ok", "away", 200), ("ok", "ok", 200), ("waiting", "ok", 503)]
)
async def test_readiness_says_what_is_off_and_fails_for_what_bearer_requests_need(
    keys: str, nats: str, status: int
) -> None:
    reply = await readiness({"keys": lambda: keys}, {"nats": lambda: nats})()
    assert reply.status == status
    assert orjson.loads(reply.body) == {
        "status": "ready" if status == 200 else "not ready",
        "checks": {"keys": keys, "nats": nats},
    }


async def test_the_resource_says_where_its_tokens_come_from() -> None:
    """RFC 9728 §2 and §3.1."""
    async with running(public_url="https://api.dezky.example/") as gateway:
        found = await gateway.get("/.well-known/oauth-protected-resource", token="")
        document = orjson.loads(found.body)
        assert found.field(b"content-type") == b"application/json"
        assert document["resource"] == "https://api.dezky.example"
        assert document["authorization_servers"] == [
            "http://127.0.0.1:9/application/o/dezky-operator/",
            "http://127.0.0.1:9/application/o/dezky-portal/",
        ]
        assert document["bearer_methods_supported"] == ["header"]
        refused = await gateway.get("/api/me", token="")
        named = b'resource_metadata="https://api.dezky.example/.well-known/oauth-protected-resource"'
        assert named in (refused.field(b"www-authenticate") or b"")


async def test_an_own_endpoint_is_read_only() -> None:
    async with running() as gateway:
        assert (await gateway.get("/livez", method="HEAD")).status == 200
        answer = await gateway.ask(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert (answer.status, answer.problem["code"]) == (405, "method_not_allowed")
        assert answer.field(b"allow") == b"GET, HEAD"


# -- the merged document


def _document(**paths: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths, "components": {}}


def test_the_merged_document_holds_what_the_table_routes_to_each_service() -> None:
    shape = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    item = {"get": {"operationId": "read", "security": [], "responses": {"404": shape}}}
    tenant = _document(
        **{"/api/tenants/{slug}": item, "/api/audit": item, "/internal/principals": item, "/livez": item}
    )
    tenant["components"] = {"schemas": {"Problem": {"type": "object"}}, "securitySchemes": {"x": {}}}
    billing = _document(**{"/api/tenants/{slug}/billing/invoices": item, "/webhooks/stripe": {"post": {}}})
    billing["components"] = {
        "schemas": {
            "Problem": {"type": "string"},
            "Any": {"discriminator": {"mapping": {"a": "#/components/schemas/Problem"}}},
        }
    }
    merged = merge({"tenant": tenant, "billing": billing}, RouteTable())
    assert list(merged["paths"]) == ["/api/tenants/{slug}", "/api/tenants/{slug}/billing/invoices", "/webhooks/stripe"]
    schemas = merged["components"]["schemas"]
    assert (schemas["tenant.Problem"]["type"], schemas["billing.Problem"]["type"]) == ("object", "string")
    assert schemas["billing.Any"]["discriminator"]["mapping"]["a"] == "#/components/schemas/billing.Problem"
    operation = merged["paths"]["/api/tenants/{slug}"]["get"]
    assert operation["operationId"] == "tenant.read"
    reference = operation["responses"]["404"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/tenant.Problem"
    assert "security" not in operation
    assert merged["paths"]["/webhooks/stripe"]["post"]["security"] == []
    assert set(merged["components"]["securitySchemes"]) == {"bearer"}


async def test_a_service_that_is_away_is_left_out_and_named() -> None:
    body = orjson.dumps(_document(**{"/api/tenants": {"get": {}}, "/api/partners": {"get": {}}}))
    async with running(dead=("partner",)) as gateway:
        gateway.service.script = answering(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        first = await gateway.get("/api/openapi.json", token="")
        document = orjson.loads(first.body)
        assert list(document["paths"]) == ["/api/tenants"]
        assert document["info"]["x-services-away"] == ["partner"]
        assert {seen.line for seen in gateway.service.seen} == {b"GET /internal/openapi.json HTTP/1.1"}
        asked = len(gateway.service.seen)
        assert (await gateway.get("/api/openapi.json", token="")).body == first.body
        assert len(gateway.service.seen) == asked


# -- the process


async def test_the_process_starts_without_anything_else_and_leaves_on_sigterm() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        env={
            **os.environ,
            **ENVIRONMENT,
            "GATEWAY_PORT": str(port),
            "GATEWAY_NATS_URL": "nats://gateway:x@127.0.0.1:9",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            reader, writer = await _connected(port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200" in await reader.readline()
            seen = b""
            while b'"nats"' not in seen:
                seen += await reader.read(4096)
            assert b"HTTP/1.1 503" in seen
            assert b'"nats":"away"' in seen
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            writer.close()
        assert process.stdout is not None
        said = (await process.stdout.read()).decode()
        assert "Traceback" not in said
        lines = [orjson.loads(line) for line in said.splitlines() if '"request"' in line]
        assert {"method", "route", "status", "ms", "request_id"} <= lines[0].keys()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
