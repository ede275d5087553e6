"""A stand-in as a process of its own, and JMAP requests made of nothing but JSON."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 20
ADMIN, ADMIN_SECRET = "admin@sandbox.example", "secret-of-the-administrator"
API_KEY = "API_key-of-the-tests-0001"
USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
BY_HAND = {f"{what}Management": {"@type": "Manual"} for what in ("certificate", "dkim", "dns")}
PASSWORD = "tiny-Wolf-reads-42-maps"
SUSPENDED = {
    "@type": "Merge",
    "enabledPermissions": {},
    "disabledPermissions": {"authenticate": True, "emailSend": True},
}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Process:
    """One instance with its directory; `stop` and `start` again keep port and state."""

    def __init__(self, name: str, ready: str, directory: Path, seed: dict[str, Any]) -> None:
        self.name = name
        self.ready = ready
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False)
        self.state = directory / "state"
        self.seed_file = directory / "seed.json"
        self.seed = seed
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        module = f"infrastructure.sandbox.{self.name}"
        places = ["--port", str(self.port), "--state", str(self.state), "--seed", str(self.seed_file)]
        return [sys.executable, "-m", module, *places]

    def start(self) -> None:
        self.seed_file.write_text(json.dumps(self.seed))
        process = self.process = subprocess.Popen(self.command(), cwd=ROOT)

        def is_ready() -> bool:
            assert process.poll() is None, "the stand-in ended while starting"
            try:
                # A control path, since a request for readiness would count against a limit.
                return self.http.get("/_sandbox/faults").status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready, "the stand-in did not become ready")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(DEADLINE_SECONDS)
            self.process = None
        self.close()
        self.http = httpx.Client(base_url=self.url, trust_env=False)

    def close(self) -> None:
        self.http.close()


class Stalwart(Process):
    def __init__(self, directory: Path, **settings: Any) -> None:
        seed = {"adminUser": ADMIN, "adminSecret": ADMIN_SECRET, "apiKey": API_KEY, "destroyDelayMs": 0, **settings}
        super().__init__("stalwart", "/healthz/ready", directory, seed)

    def post(self, *calls: list[Any], token: str = API_KEY, **members: Any) -> httpx.Response:
        body = {"using": USING, "methodCalls": list(calls), **members}
        return self.http.post("/jmap", json=body, headers={"Authorization": f"Bearer {token}"})

    def call(self, method: str, arguments: dict[str, Any], token: str = API_KEY) -> dict[str, Any]:
        """The arguments of the one response, whatever its name."""
        answer = self.post([method, arguments, "0"], token=token)
        assert answer.status_code == 200, answer.text
        [[_name, result, call]] = answer.json()["methodResponses"]
        assert call == "0"
        assert isinstance(result, dict)
        return result

    def create(self, noun: str, body: dict[str, Any], token: str = API_KEY) -> str:
        result = self.call(f"x:{noun}/set", {"create": {"new": body}}, token)
        assert "created" in result, result
        identity: str = result["created"]["new"]["id"]
        return identity

    def refusal(self, noun: str, body: dict[str, Any], token: str = API_KEY) -> dict[str, Any]:
        result = self.call(f"x:{noun}/set", {"create": {"new": body}}, token)
        assert "created" not in result, result
        refusal: dict[str, Any] = result["notCreated"]["new"]
        return refusal

    def update(self, noun: str, identity: str, changes: dict[str, Any]) -> dict[str, Any]:
        return self.call(f"x:{noun}/set", {"update": {identity: changes}})

    def read(self, noun: str, identity: str) -> dict[str, Any]:
        [found] = self.call(f"x:{noun}/get", {"ids": [identity]})["list"]
        assert isinstance(found, dict)
        return found

    def domain(self, name: str, **more: Any) -> str:
        return self.create("Domain", {"name": name, **BY_HAND, **more})

    def user(self, name: str, domain: str, **more: Any) -> str:
        return self.create("Account", user(name, domain, **more))

    def sign_in(self, address: str, password: str = PASSWORD) -> httpx.Response:
        return self.http.get("/jmap/session", headers=basic(address, password))

    def mail(self, to: str, **more: Any) -> str:
        answer = self.http.post("/_sandbox/mail", json={"to": to, "from": "someone@elsewhere.example", **more})
        assert answer.status_code == 200, answer.text
        result: str = answer.json()["result"]
        return result


def user(name: str, domain: str, **more: Any) -> dict[str, Any]:
    credentials = {"0": {"@type": "Password", "secret": PASSWORD}}
    body = {"@type": "User", "name": name, "domainId": domain, "credentials": credentials, "roles": {"@type": "User"}}
    return {**body, **more}


def basic(address: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{address}:{password}".encode()).decode()}
