"""What a NATS server says of itself on its monitoring port."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from infrastructure.bootstrap.reports import ByHand, Outcome, Report

_TIMEOUT_SECONDS = 2.0
_PORT = 8222


def require_sync(monitor_url: str) -> Report:
    """Look whether JetStream syncs before it acknowledges; a `kill -9` cannot show that, only the monitor does.

    Raises:
        ByHand: it does not. OSError: the monitor does not answer.
    """
    _, answer = monitor(monitor_url, "/jsz")
    if not answer.get("config", {}).get("sync_always"):
        raise ByHand(
            "nats-server does not report sync_always, so a power cut could lose acknowledged events",
            "Set `sync_interval: always` in its jetstream block; that needs nats-server 2.12 or newer",
        )
    return Report("sync_interval always", Outcome.OK)


def monitor(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a page of the monitor (`/healthz`, `/jsz`). Raises OSError."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or _PORT, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (http.client.HTTPException, ValueError) as broken:
        raise OSError(f"the NATS monitor answered no JSON: {broken}") from broken
    finally:
        connection.close()
