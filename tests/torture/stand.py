"""What the torture runs against: a tenant service that is killed, and integrations whose weather is bad."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.sandbox.authentik.process import ROOT
from tests.support.waiting import eventually
from tests.tenant.people import ready
from tests.tenant.suite import Suite

FAULTS: tuple[dict[str, Any], ...] = (
    {"effect": "error", "probability": 0.2},
    {"effect": "throttle", "probability": 0.05, "retryAfterSeconds": 1},
    {"effect": "lose_reply", "probability": 0.07},
    {"effect": "drop", "probability": 0.03},
    {"effect": "delay", "probability": 0.02, "latencyMs": 5_000},
)
"""Of every request to an integration in a storm; each is drawn by itself, the first that strikes counts."""
STORMY, LULL = 0.8, 0.5


class Service:
    """The tenant service as a process of its own, in a place of its own, whatever becomes of it."""

    def __init__(self, environment: dict[str, Any], log: Path) -> None:
        common = {"internal_public_keys": "INTERNAL_PUBLIC_KEYS", "nats_prefix": "NATS_PREFIX"}
        common["environment"] = "DEZKY_ENVIRONMENT"
        self._variables = {
            common.get(name, f"TENANT_{name.upper()}"): json.dumps(value) if isinstance(value, dict) else str(value)
            for name, value in environment.items()
        }
        self._log = log
        self._child: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{environment['port']}"
        self.kills = 0

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.tenant"),
                env={**os.environ, **self._variables},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        async with httpx.AsyncClient(base_url=self.url) as http:
            await eventually(lambda: ready(http), seconds=60, what="the tenant service is ready")

    async def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self._child is not None
        assert self._child.returncode is None, "the service ended by itself"
        self._child.kill()
        await self._child.wait()
        self.kills += 1


@dataclass
class Weather:
    """Faults of the three integrations, which change by themselves; each integration has its own."""

    suite: Suite
    random: Random
    struck: Counter[str] = field(default_factory=Counter)

    async def blow(self) -> None:
        """Change the weather until cancelled, then let the sun shine.

        Each integration has a storm or none for itself; now and then all have a lull, or no tenant would ever become
        active, and none could be suspended.
        """
        clients = [self.suite.authentik.http, self.suite.stalwart.http, self.suite.ocis.http]
        try:
            while True:
                for http in clients:
                    await asyncio.to_thread(self._calm, http)
                    if self.random.random() < STORMY:
                        await asyncio.to_thread(self._storm, http)
                await asyncio.sleep(self.random.uniform(2, 6))
                if self.random.random() < LULL:
                    for http in clients:
                        await asyncio.to_thread(self._calm, http)
                    await asyncio.sleep(self.random.uniform(2, 5))
        finally:
            for http in clients:
                self._calm(http)

    def _storm(self, http: httpx.Client) -> None:
        for rule in FAULTS:
            seeded = {**rule, "seed": self.random.randrange(2**31)}
            assert http.post("/_sandbox/faults", json=seeded).status_code == 201

    def _calm(self, http: httpx.Client) -> None:
        for fault in http.get("/_sandbox/faults").json():
            self.struck[fault["effect"]] += fault["struck"]
        assert http.delete("/_sandbox/faults").status_code == 204

    def requests(self) -> int:
        """Return how many requests the integrations have seen."""
        integrations = (self.suite.authentik, self.suite.stalwart, self.suite.ocis)
        seen = [each.http.get("/_sandbox/requests").json() for each in integrations]
        return sum(int(rows[-1]["sequence"]) for rows in seen if rows)
