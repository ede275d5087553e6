"""The configuration of NATS in a deployment: that of the local runner, but for addresses and where passwords are."""

import json
import re
from pathlib import Path

from infrastructure.compose.variables import nats_password
from infrastructure.local.processes import NATS_USERS
from infrastructure.local.readiness import ADMIN
from infrastructure.local.servers.nats import NatsUser, render_config
from shared.topology import Topology

PORT, MONITOR_PORT = 4222, 8222
STORE = Path("/jetstream")
_REFERENCE = re.compile(r'"<(\w+)>"')


def render() -> str:
    """The configuration. A password is `$NATS_…_PASSWORD`, which nats-server takes from its environment.

    The server reads a variable's value as it reads the file, so the value must be quoted: `"…"`.
    """
    topology = Topology()
    users = [NatsUser(ADMIN, _reference(ADMIN))]
    for name in NATS_USERS:
        allowed = topology.permissions(name)
        users.append(NatsUser(name, _reference(name), allowed["publish"], allowed["subscribe"]))
    config = json.loads(render_config(PORT, MONITOR_PORT, STORE, users))
    # Nothing is published from this container: only its own networks reach it.
    config |= {"server_name": "dezky", "host": "0.0.0.0", "http": f"0.0.0.0:{MONITOR_PORT}"}
    return _REFERENCE.sub(r"$\1", json.dumps(config, indent=2)) + "\n"


def _reference(user: str) -> str:
    return f"<{nats_password(user)}>"
