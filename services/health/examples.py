"""What clients are told of the routes of health, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from shared.openapi import Described, Operations

OPERATIONS: Operations = {
    "public_health": Described(text="No token is needed, and nothing more is said.", answer={"status": "up"}),
    "platform_health": Described(
        text="`bad` is a time-out, a refusal or an answer that says so; `warn` is slow or wants a look. `not_deployed` "
        "probes have no target and count in neither `live` nor `deployed`. `planned` names what is to come.",
        answer={
            "status": "up",
            "live": 1,
            "deployed": 1,
            "probes": [
                {
                    "name": "mongo",
                    "status": "ok",
                    "latencyMs": 2,
                    "message": None,
                    "since": "2026-11-22T11:00:00.000Z",
                    "checkedAt": "2026-11-23T09:30:00.000Z",
                    "uptime": None,
                }
            ],
            "planned": ["jitsi"],
        },
    ),
}
