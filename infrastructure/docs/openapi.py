"""``docs/openapi/dezky.json``: the API as the gateway publishes it, merged from what the services say of themselves."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from gateway.openapi import merge
from gateway.routes import RouteTable
from infrastructure.docs.discovery import ROOT, service_module, services_with, settings_of
from shared.openapi import Operations, described_by

_KEY = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
# Nothing is connected to: a description of routes needs settings of the right shape and no more.
_KNOWN: dict[str, Any] = {
    "port": 1,
    "mongo_uri": "mongodb://127.0.0.1:1",
    "nats_url": "nats://127.0.0.1:1",
    "internal_public_keys": {},
    "checkpoint_keys": [{"seed": _KEY}],
}


def document() -> dict[str, Any]:
    """The merged OpenAPI 3.1 document of all services that there are."""
    return merge({service: _described(service) for service in services_with("main.py")}, RouteTable())


def render() -> dict[Path, str]:
    """The file, by its path."""
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    return {ROOT / "docs" / "openapi" / "dezky.json": text}


def operations_of(service: str) -> Operations:
    """The descriptions that a service gives of its routes, by the names of their functions."""
    return described_by(_built(service))


def _described(service: str) -> dict[str, Any]:
    described: dict[str, Any] = _built(service).openapi()
    return described


def _built(service: str) -> FastAPI:
    settings = settings_of(service_module(service, "settings"))
    app: FastAPI = service_module(service, "main").build(settings(**_values(settings)))
    return app


def _values(settings: type[BaseSettings]) -> dict[str, Any]:
    """A value for every required setting. Raises LookupError for one of an unexpected type."""
    stand_ins: dict[Any, Any] = {SecretStr: _KEY, str: "x", int: 1}
    values: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        if not field.is_required():
            continue
        if name not in _KNOWN and field.annotation not in stand_ins:
            raise LookupError(f"{settings.__name__}.{name}: no value is known for {field.annotation}")
        values[name] = _KNOWN.get(name, stand_ins.get(field.annotation))
    return values
