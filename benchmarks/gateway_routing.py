"""A signed request through the gateway, against a Fastify gateway with ``jose`` and ``@fastify/http-proxy``.

Both stand before the same trivial service, keep their connections, write no request log, and swap the caller's token
for an internal one that they sign anew every 45 s. «Each verified» sends more different tokens in turn than our cache
holds, so that it never helps; the peer then has no cache at all.
"""

from __future__ import annotations

import contextlib
import json
from functools import partial

from benchmarks import node_peers
from benchmarks.access_tokens import AUDIENCE, ISSUER, TokenIssuer
from benchmarks.load import fire, get
from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Comparison, Figure, side
from benchmarks.setting import Setting, alternate
from gateway.authenticator import CACHE_SIZE
from shared.testing import public_keys, seed_text

TARGET = 1.0
OURS, PEER = "our gateway", "Fastify, jose, http-proxy"

_PERSON = {
    "id": "0198c0de-0000-7000-8000-000000000001",
    "subject": "5f" * 32,
    "email": "staff@nordic.example",
    "name": "Stig Staff",
    "groups": [],
    "platformAdmin": False,
    "partner": {"slug": "nordic", "role": "staff"},
    "tenants": {},
    "version": 1,
    "active": True,
}
_TENANT = {
    "id": "0198c0de-0000-7000-8000-0000000000aa",
    "slug": "acme",
    "name": "Acme Ltd",
    "plan": "business",
    "cycle": "month",
    "currency": "EUR",
    "seats": 25,
    "domains": [{"name": "acme.example", "primary": True}],
    "billing": {"contact": "billing@acme.example", "company": "Acme Ltd", "address": "Musterweg 1"},
    "partner": "nordic",
    "status": "active",
    "suspendedReason": None,
    "createdAt": "2026-11-22T12:00:00.000Z",
    "updatedAt": "2026-11-22T12:00:00.000Z",
    "version": 1,
}


async def measure(setting: Setting) -> Figure:
    """Return both variants: each token verified, and verified tokens remembered."""
    figure = Figure("gateway", "Gateway: a signed request (RS256) routed")
    issuer = TokenIssuer()
    body = json.dumps(_TENANT).encode()
    files = []
    for name, content in (("document", body), ("jwks", issuer.jwks()), ("person", json.dumps(_PERSON).encode())):
        (setting.folder / name).write_bytes(content)
        files.append(str(setting.folder / name))
    port = free_port()
    upstream = Pinned(
        python("benchmarks.upstream", str(port), *files), {}, setting.folder / "upstream.log", port=port, beside=True
    )
    tokens = issuer.tokens(CACHE_SIZE + 1_000)
    async with upstream:
        bare = await fire(port, [get("/api/tenants/acme")], seconds=0.5, expected=body)
        figure.notes.append(
            f"The same generator straight at the trivial service, both on one core: {bare.per_second:,.0f}/s."
        )
        for cached, title in ((False, "each token verified"), (True, "verified tokens remembered")):
            figure.comparisons.append(
                await _compare(setting, port, body, tokens[:64] if cached else tokens, title, cached=cached)
            )
    return figure


async def _compare(
    setting: Setting, upstream: int, body: bytes, tokens: list[str], title: str, *, cached: bool
) -> Comparison:
    requests = [get("/api/tenants/acme", f"Authorization: Bearer {token}") for token in tokens]
    async with contextlib.AsyncExitStack() as stack:
        ours = await stack.enter_async_context(_ours(setting, upstream))
        peer = await stack.enter_async_context(_peer(setting, upstream, cached=cached))
        runs = []
        for one in (ours, peer):
            await fire(one.port, requests, seconds=setting.warm_up, expected=body)
            cpu = one.cpu_seconds
            runs.append(partial(fire, one.port, requests, seconds=setting.seconds, expected=body, cpu_seconds=cpu))
        mine, theirs = await alternate(setting.rounds, *runs)
    return Comparison(title, side(OURS, mine), side(PEER, theirs), TARGET)


def _ours(setting: Setting, upstream: int) -> Pinned:
    port = free_port()
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["RS256"],
        "surface": "portal",
        "identityProvider": "authentik",
        "jwksUri": f"http://127.0.0.1:{upstream}/jwks/",
    }
    environment = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_PROVIDERS": json.dumps([provider]),
        "GATEWAY_UPSTREAMS": json.dumps({"tenant": f"http://127.0.0.1:{upstream}"}),
        "GATEWAY_INTERNAL_SIGNING_KEY": seed_text("gateway"),
        "GATEWAY_INTERNAL_SIGNING_KID": "gateway-1",
        "GATEWAY_LOG_LEVEL": "WARNING",
    }
    log = setting.folder / "gateway.log"
    return Pinned(python("gateway"), environment, log, port=port, ready_path="/readyz")


def _peer(setting: Setting, upstream: int, *, cached: bool) -> Pinned:
    port = free_port()
    jwk = {"kty": "OKP", "crv": "Ed25519", "d": seed_text("gateway"), "x": public_keys()["gateway-1"].x}
    environment = node_peers.environment(
        PORT=str(port),
        UPSTREAM=f"http://127.0.0.1:{upstream}",
        ISSUER=ISSUER,
        AUDIENCE=AUDIENCE,
        JWKS_URI=f"http://127.0.0.1:{upstream}/jwks/",
        INTERNAL_JWK=json.dumps(jwk),
        TOKEN_CACHE="1" if cached else "0",
    )
    log = setting.folder / "peer.log"
    return Pinned(node_peers.installed("fastify-gateway"), environment, log, port=port)
