"""One OpenAPI 3.1 document for the whole API, merged from what the services say of themselves.

A path is taken from the service that the route table sends it to and from nobody else, so the document shows what
can be called through the gateway and nothing more. Component names get the service's name before them. What the
gateway itself answers is added to every operation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import structlog

from gateway import answers
from gateway.application import Reply
from gateway.identity import Credentials
from gateway.routes import Route, RouteTable
from gateway.upstream import Upstream
from gateway.upstream_errors import UpstreamError

KEPT_SECONDS = 60.0
KEPT_INCOMPLETE_SECONDS = 5.0
_DEADLINE_SECONDS = 5.0
_REFERENCE = "#/components/"
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})

log = structlog.get_logger()


def merge(documents: Mapping[str, dict[str, Any]], routes: RouteTable) -> dict[str, Any]:
    """Return one document of ``documents`` by service name."""
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        **answers.components(),
    }
    for service, document in sorted(documents.items()):
        renamed = _rename(document, service)
        for path, item in renamed.get("paths", {}).items():
            route = routes.match(path)
            if route is not None and route.service == service:
                paths[path] = _operations(item, service, route)
        for kind, members in renamed.get("components", {}).items():
            if kind != "securitySchemes":
                components.setdefault(kind, {}).update(
                    {f"{service}.{name}": member for name, member in members.items()}
                )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Dezky", "version": "1", "description": answers.ABOUT},
        "tags": answers.TAGS,
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def _operations(item: dict[str, Any], service: str, route: Route) -> dict[str, Any]:
    made = dict(item)
    for method in _METHODS & item.keys():
        operation = dict(item[method])
        if "operationId" in operation:
            operation["operationId"] = f"{service}.{operation['operationId']}"
        answers.add_to(operation, route)
        if route.public:
            operation["security"] = []
        else:
            operation.pop("security", None)
        made[method] = operation
    return made


def _rename(node: Any, service: str) -> Any:
    """Return a copy in which references to components carry the service's name."""
    if isinstance(node, dict):
        return {key: _rename_reference(key, value, service) for key, value in node.items()}
    if isinstance(node, list):
        return [_rename(item, service) for item in node]
    return node


def _rename_reference(key: str, value: Any, service: str) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith(_REFERENCE):
        kind, _, name = value.removeprefix(_REFERENCE).partition("/")
        return f"{_REFERENCE}{kind}/{service}.{name}"
    if key == "mapping" and isinstance(value, dict):  # of a discriminator: values are references, too
        return {name: _rename_reference("$ref", target, service) for name, target in value.items()}
    return _rename(value, service)


class MergedDocument:
    """The merged document, asked for again each minute. A service that is away is left out and named."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        credentials: Credentials,
        routes: RouteTable,
        *,
        now: Callable[[], float],
    ) -> None:
        self._upstreams = upstreams
        self._credentials = credentials
        self._routes = routes
        self._now = now
        self._reply: Reply | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def __call__(self) -> Reply:
        async with self._lock:
            if self._reply is None or self._now() >= self._good_until:
                self._reply = await self._make()
            return self._reply

    async def _make(self) -> Reply:
        names = sorted(self._upstreams)
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        found = {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}
        document = merge(found, self._routes)
        missing = [name for name in names if name not in found]
        if missing:
            document["info"]["x-services-away"] = missing
        self._good_until = self._now() + (KEPT_INCOMPLETE_SECONDS if missing else KEPT_SECONDS)
        return Reply(orjson.dumps(document), cache_control="no-cache")

    async def _ask(self, service: str) -> dict[str, Any] | None:
        try:
            answer = await self._upstreams[service].document(
                "GET",
                "/internal/openapi.json",
                fields=self._credentials.of_gateway(service),
                timeout=_DEADLINE_SECONDS,
            )
            document = orjson.loads(answer.body) if answer.status == 200 else None
        except (UpstreamError, ValueError) as error:
            log.warning("openapi.service_away", service_name=service, reason=type(error).__name__)
            return None
        return document if isinstance(document, dict) else None
