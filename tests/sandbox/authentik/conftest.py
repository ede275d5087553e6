from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.authentik.process import StandIn


@pytest.fixture(scope="module")
def authentik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One instance for all tests of a module that leave it as they found it."""
    instance = StandIn(tmp_path_factory.mktemp("authentik"))
    instance.start()
    yield instance
    instance.stop()
    instance.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StandIn]:
    """An instance of the test's own, not started."""
    instance = StandIn(tmp_path)
    yield instance
    instance.stop()
    instance.close()
