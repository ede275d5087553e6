"""A taken port is one line that names the port, its use, who has it, and what to do."""

import os
import socket
from pathlib import Path

import pytest

from infrastructure.local import ports
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from infrastructure.local.processes import MONGOD_OFFSET, NATS_MONITOR_OFFSET

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("offset", "use"), [(MONGOD_OFFSET, "mongod"), (NATS_MONITOR_OFFSET, "nats monitor")])
def test_a_taken_port_is_named_with_its_holder_and_the_remedy(place: Place, offset: int, use: str) -> None:
    # One of the place's own, which are below those of outgoing connections: there its neighbours stay free.
    with socket.create_server(("127.0.0.1", place.port(offset))), pytest.raises(Obstacle) as refused:
        ports.require_free(place)
    name = Path("/proc/self/comm").read_text().strip()
    assert str(refused.value) == (
        f"Port {place.port(offset)} ({use}) is taken by {name} (pid {os.getpid()}). "
        "End that process, or choose other ports: DEZKY_PORT_BASE=9080 make up."
    )


def test_the_holder_is_found_behind_a_file_that_it_closed_meanwhile(place: Place) -> None:
    # Looking opens a file itself, whose number is the lowest free one: here one below the socket's.
    below = socket.socket()
    with socket.create_server(("127.0.0.1", place.port(MONGOD_OFFSET))) as listening:
        assert below.fileno() < listening.fileno()
        below.close()
        with pytest.raises(Obstacle, match=rf"\(pid {os.getpid()}\)"):
            ports.require_free(place)


def test_a_listener_on_all_addresses_counts_as_taken(place: Place) -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        assert ports.is_taken(everywhere.getsockname()[1])


def test_free_ports_pass(place: Place) -> None:
    ports.require_free(place)


def test_the_rest_of_a_closed_connection_does_not_count_as_taken(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        accepted, _ = listener.accept()
        accepted.close()  # the side that closes first is left in TIME_WAIT
    listener.close()
    assert not ports.is_taken(port)
