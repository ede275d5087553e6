import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.stalwart.process import Stalwart

COUNTER = itertools.count(1)


@pytest.fixture(scope="session")
def stalwart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stalwart]:
    """One instance for all tests that keep to a domain of their own."""
    generous = {"authenticatedPerMinute": 100_000, "anonymousPerMinute": 100_000}
    instance = Stalwart(tmp_path_factory.mktemp("stalwart"), limits=generous)
    instance.start()
    yield instance
    instance.stop()
    instance.close()


@pytest.fixture
def domain(stalwart: Stalwart) -> tuple[str, str]:
    """The id and the name of a domain that no other test knows."""
    name = f"d{next(COUNTER)}.example"
    return stalwart.domain(name), name


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Stalwart]]:
    """Makes an instance of the test's own, not started."""
    instances: list[Stalwart] = []

    def make(**settings: Any) -> Stalwart:
        directory = tmp_path / str(len(instances))
        directory.mkdir()
        instances.append(Stalwart(directory, **settings))
        return instances[-1]

    yield make
    for instance in instances:
        instance.stop()
        instance.close()
