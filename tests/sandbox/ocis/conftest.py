from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.ocis.process import Issuer, Ocis


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def ocis(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Ocis]:
    """One instance for all tests that keep to names of their own."""
    instance = Ocis(tmp_path_factory.mktemp("ocis"), issuer=issuer.issuer)
    instance.start()
    yield instance
    instance.stop()
    instance.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Ocis]]:
    """Makes an instance of the test's own, not started."""
    instances: list[Ocis] = []

    def make(**settings: Any) -> Ocis:
        directory = tmp_path / str(len(instances))
        directory.mkdir()
        instances.append(Ocis(directory, **settings))
        return instances[-1]

    yield make
    for instance in instances:
        instance.stop()
        instance.close()
