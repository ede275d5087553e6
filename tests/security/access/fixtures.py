"""One world and one reading of the API document for all tests of access and input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.security.access.samples import Samples
from tests.security.access.world import World, until, world_of
from tests.support.fleet import Fleet


@pytest.fixture(scope="session")
def world(fleet: Fleet) -> Iterator[World]:
    with world_of(fleet) as made:
        yield made


@pytest.fixture(scope="session")
def document(world: World) -> dict[str, Any]:
    """The merged OpenAPI document, once no service is missing from it."""

    def whole() -> dict[str, Any] | None:
        answer = world.call(None, "portal", "GET", "/api/openapi.json")
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = answer.json()
        return None if "x-services-away" in read["info"] else read

    found: dict[str, Any] = until(whole)
    return found


@pytest.fixture(scope="session")
def samples(world: World, document: dict[str, Any]) -> Samples:
    return Samples(world, document)
