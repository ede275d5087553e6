"""The two that are compared over tenants: our service and its NestJS peer, on one database; and their callers."""

from __future__ import annotations

import json

from benchmarks import node_peers
from benchmarks.load import ask, get
from benchmarks.processes import Pinned, free_port, python
from benchmarks.servers import Servers
from benchmarks.setting import Setting
from shared.auth import InternalTokenIssuer, Principal, ServicePrincipal
from shared.clock import SystemClock
from shared.testing import operator, public_keys, seed_of

OURS, PEER = "our tenant service", "NestJS, Mongoose"


def ours(setting: Setting, servers: Servers, database: str = "tenant") -> Pinned:
    """Return our service, without the suite's backends, as the peer is: their conditions would be in the answer."""
    port = free_port()
    environment = {
        name: value
        for name, value in servers.environment("tenant", port).items()
        if not name.startswith(("TENANT_AUTHENTIK", "TENANT_STALWART", "TENANT_OCIS"))
    }
    environment["TENANT_MONGO_DATABASE"] = database
    log = setting.folder / "tenant.log"
    return Pinned(python("services.tenant"), environment, log, port=port, ready_path="/readyz")


def peer(setting: Setting, servers: Servers, *, cached: bool, database: str = "tenant") -> Pinned:
    """Return the peer; ``cached``: whether it remembers the tokens that it has verified."""
    port = free_port()
    environment = node_peers.environment(
        PORT=str(port),
        MONGO_URI=servers.mongo_uri,
        MONGO_DATABASE=database,
        INTERNAL_KEYS=json.dumps({kid: key.model_dump() for kid, key in public_keys().items()}),
        TOKEN_CACHE="1" if cached else "0",
    )
    return Pinned(node_peers.installed("nest-tenants"), environment, setting.folder / "peer.log", port=port)


def authorizations(count: int, caller: Principal | None = None, audience: str = "tenant") -> list[str]:
    """Return ``count`` different tokens of an operator, or of ``caller``, as header lines; good for a minute."""
    owner = caller.name if isinstance(caller, ServicePrincipal) else "gateway"
    issuer = InternalTokenIssuer(owner, f"{owner}-1", seed_of(owner), SystemClock())
    return [f"Authorization: Bearer {issuer.issue(audience, caller or operator())}" for _ in range(count)]


async def same_bytes(ours: int, peer: int, path: str, caller: Principal | None = None) -> bytes:
    """Return what both answer.

    Raises:
        AssertionError: they do not answer the same, or not 200.
    """
    request = get(path, *authorizations(1, caller))
    (status, body), (other_status, other_body) = await ask(ours, request), await ask(peer, request)
    if status != 200 or other_status != 200 or body != other_body:
        raise AssertionError(
            f"{path}: the two do not answer the same: {status} {body!r}, {other_status} {other_body!r}"
        )
    return body
