"""A whole fleet for end-to-end tests: its own folder, its own ports, the gateway as its only door."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from infrastructure.local import lifecycle
from infrastructure.local.access_token import fetch_token
from infrastructure.local.place import ROOT, Place
from infrastructure.local.servers.mongod import root_uri
from infrastructure.local.state import FleetState
from tests.local.conftest import free_port_base

RETRIED = frozenset({502, 503, 504})
TOKEN_SECONDS = 200.0


@dataclass
class Fleet:
    """A running fleet."""

    place: Place
    _tokens: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        return self.place.url(0)

    def token(self, person: str, surface: str) -> str:
        """Return an access token, a fresh one before its five minutes are over."""
        made, token = self._tokens.get((person, surface), (0.0, ""))
        if time.monotonic() - made > TOKEN_SECONDS or not token:
            token = fetch_token(self.place, lifecycle.credentials_of(self.place), person, surface)
            self._tokens[person, surface] = (time.monotonic(), token)
        return token

    def client(self, person: str, surface: str) -> httpx.AsyncClient:
        """Return a client of the gateway that acts as ``person``."""
        headers = {"authorization": f"Bearer {self.token(person, surface)}"}
        return httpx.AsyncClient(base_url=self.gateway, headers=headers, timeout=20)

    def root(self) -> MongoClient[dict[str, Any]]:
        """Return MongoDB as its root user sees it: an attacker with every right."""
        return MongoClient(self.root_uri())

    def root_uri(self) -> str:
        """Return the URI of that user."""
        password = json.loads((self.place.secrets / "mongo.json").read_text())["root"]
        return root_uri(self.place.port(30), password)

    def state(self) -> FleetState:
        state = lifecycle.running(self.place)
        assert state is not None
        return state

    def pid(self, process: str) -> int:
        """Return the pid of a process of the fleet."""
        found = {p.name: p for p in self.state().processes}[process].identity
        assert found is not None
        return found.pid


def command(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the runner on ``place``, as make does."""
    return subprocess.run(
        [sys.executable, "-m", "infrastructure.local", *words],
        cwd=ROOT,
        env=os.environ | {"DEZKY_HOME": str(place.home), "DEZKY_PORT_BASE": str(place.port_base)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def start_fleet(home: Path) -> Fleet:
    """Start a fleet in ``home``; ``down`` ends it."""
    place = Place(home, free_port_base())
    started = command(place, "up")
    assert started.returncode == 0, started.stdout + started.stderr
    return Fleet(place)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = start_fleet(tmp_path_factory.mktemp("fleet") / "home")
    yield running
    ended = command(running.place, "down")
    assert ended.returncode == 0, ended.stderr


async def persistently(client: httpx.AsyncClient, method: str, path: str, **kwargs: Any) -> httpx.Response:
    """Send a request as a careful client does: repeat it under its key while the answer is 502, 503 or none."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = await client.request(method, path, **kwargs)
            if answer.status_code not in RETRIED or time.monotonic() > deadline:
                return answer
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)
