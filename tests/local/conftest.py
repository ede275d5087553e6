"""A place of its own for each test: an empty home and a port base whose whole range is free."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local.credentials import Credentials
from infrastructure.local.lifecycle import credentials_of
from infrastructure.local.place import Place

_RANGE = 40


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "home", free_port_base())
    made.prepare()
    return made


@pytest.fixture
def credentials(place: Place) -> Credentials:
    return credentials_of(place)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens on some port of 127.0.0.1."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def free_port_base() -> int:
    """A base whose next 40 ports nobody listens on, below the range of outgoing connections."""
    first = 11_000 + os.getpid() % 50 * 400  # so that two workers do not look in the same order
    for base in range(first, 32_000, _RANGE):
        if all(_is_free(base + offset) for offset in range(_RANGE)):
            return base
    raise AssertionError("no 40 free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
