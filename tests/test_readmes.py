"""A service's README names what there is: every route, every event out and in, every setting of its own."""

from __future__ import annotations

import re

import pytest

from infrastructure.docs.contracts import documented
from infrastructure.docs.discovery import ROOT, service_module, services_with, settings_of
from infrastructure.docs.openapi import document
from shared.settings import ServiceSettings
from shared.topology import BY_NAME
from tests.support.openapi import operations

pytestmark = pytest.mark.unit

SERVICES = services_with("main.py")
# `GET, POST /api/prices` or `PATCH /api/prices/{id}`, in a code span.
ROUTE = re.compile(r"`((?:GET|POST|PUT|PATCH|DELETE)(?:,? (?:GET|POST|PUT|PATCH|DELETE))*) (/[^`?\s]*)[^`]*`")
LONGEST = 150
DOCUMENT = document()


def _page(service: str) -> str:
    return (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")


def _plain(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def _named_routes(service: str) -> set[str]:
    found = ROUTE.findall(_page(service))
    return {f"{method} {_plain(path)}" for methods, path in found for method in re.findall(r"[A-Z]+", methods)}


def _routes(service: str) -> set[str]:
    return {
        _plain(name) for name, operation in operations(DOCUMENT) if operation["operationId"].startswith(f"{service}.")
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_route_and_none_that_is_gone(service: str) -> None:
    there, named = _routes(service), _named_routes(service)
    assert sorted(there - named) == [], f"name them in services/{service}/README.md, each whole in a code span"
    public = {route for route in named if " /api" in route or " /health" in route or " /webhooks" in route}
    assert sorted(public - there) == [], f"services/{service}/README.md names routes that there are not"


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_event_that_the_service_publishes_and_every_consumer(service: str) -> None:
    page = _page(service)
    spans = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+\.v\d+)`", page))
    published = {event.type for event in documented() if event.publisher == service}
    assert sorted(published - spans) == [], f"name them under Events in services/{service}/README.md"
    received = {event.type for event in documented() if service in {process for process, _ in event.consumers}}
    known = {event.type for event in documented()}
    assert sorted(spans - published - received - known) == [], "there are no such events"
    missing = [spec.name for spec in BY_NAME[service].consumers if f"`{spec.name}`" not in page]
    assert missing == [], f"say what they receive in services/{service}/README.md"


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_setting_of_the_service_alone(service: str) -> None:
    page = _page(service)
    settings = settings_of(service_module(service, "settings"))
    prefix = str(settings.model_config.get("env_prefix"))
    of_all = [
        base for base in settings.__mro__ if issubclass(base, ServiceSettings) and base.__module__ == "shared.settings"
    ]
    common = {name for base in of_all for name in base.model_fields}
    own = {f"{prefix}{name}".upper() for name in settings.model_fields.keys() - common}
    assert f"`{prefix}*`" in page
    assert sorted(name for name in own if f"`{name}`" not in page) == [], (
        f"explain them in services/{service}/README.md"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_says_how_to_run_the_service_alone_and_is_short(service: str) -> None:
    page = _page(service)
    assert f"python -m services.{service}" in page
    assert f"tests/{service}" in page
    assert page.count("\n") <= LONGEST, "a page: move what is longer to docs/"


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_collection_that_the_service_opens(service: str) -> None:
    opened = {
        name
        for file in (ROOT / "services" / service).rglob("*.py")
        for name in re.findall(r"\.db\[\"(\w+)\"\]", file.read_text(encoding="utf-8"))
    }
    of_all = {"outbox", "counters", "leases", "idempotency", "inbox", "consumer_failures"}
    missing = sorted(name for name in opened - of_all if f"`{name}`" not in _page(service))
    assert missing == [], f"say what they hold in services/{service}/README.md"
