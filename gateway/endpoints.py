"""The gateway's own paths: liveness, readiness, metrics, and the metadata of the protected resource (RFC 9728)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import orjson

from gateway.application import Endpoint, Reply
from gateway.providers import Provider
from gateway.telemetry import Telemetry

METADATA_PATH = "/.well-known/oauth-protected-resource"

Check = Callable[[], str]
"""Returns ``ok``, ``off`` or what is the matter."""


def liveness() -> Endpoint:
    """Return the endpoint that answers as long as the event loop turns; it looks at no dependency."""

    async def livez() -> Reply:
        return Reply(b'{"status":"alive"}')

    return livez


def readiness(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Endpoint:
    """Return the endpoint that says what works: ready as long as everything ``required`` does."""

    async def readyz() -> Reply:
        checks = {name: check() for name, check in {**required, **optional}.items()}
        ready = all(checks[name] == "ok" for name in required)
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        return Reply(orjson.dumps(body), 200 if ready else 503)

    return readyz


def metrics(telemetry: Telemetry) -> Endpoint:
    """Return the endpoint that Prometheus scrapes."""

    async def exposition() -> Reply:
        body, content_type = telemetry.exposition()
        return Reply(body, content_type=content_type)

    return exposition


def protected_resource(public_url: str, providers: Iterable[Provider]) -> Endpoint:
    """Return the endpoint that tells a client where to get tokens for this resource (RFC 9728 §2)."""
    document = {
        "resource": public_url,
        "authorization_servers": sorted({provider.issuer for provider in providers}),
        "bearer_methods_supported": ["header"],
        "resource_name": "Dezky",
        "resource_documentation": f"{public_url}/api/openapi.json",
    }
    reply = Reply(orjson.dumps(document), cache_control="public, max-age=3600")

    async def metadata() -> Reply:
        return reply

    return metadata
