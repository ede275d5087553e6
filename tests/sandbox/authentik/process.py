"""The stand-in as a process of its own, and JWT checks that use nothing of it (RFC 7515, RFC 7518)."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 20

ADMINS = "dezky-platform-admins"
OPERATOR: dict[str, Any] = {
    "username": "operator@dezky.local",
    "name": "Ola Operator",
    "email": "operator@dezky.local",
    "groups": [ADMINS, "everybody"],
    "password": "login-password-of-ola",
    "appPassword": "app-password-of-ola-0001",
}
MEMBER: dict[str, Any] = {
    "username": "member@acme.example",
    "name": "Mia Member",
    "email": "mia@acme.example",
    "groups": ["everybody"],
    "password": "login-password-of-mia",
    "appPassword": "app-password-of-mia-0001",
}
SEED: dict[str, Any] = {
    "apiToken": "api-token-of-the-tests",
    "publicUrl": "http://127.0.0.1:0",
    "applications": [
        {
            "slug": "dezky-operator",
            "name": "Dezky operator console",
            "clientId": "dezky-operator",
            "clientSecret": "secret-of-the-operator-app",
            "redirectUris": ["http://127.0.0.1:8080/auth/operator/callback"],
            "boundGroup": ADMINS,
            "postLogoutRedirectUris": ["http://127.0.0.1:8080/operator"],
        },
        {
            "slug": "dezky-portal",
            "name": "Dezky portal",
            "clientId": "dezky-portal",
            "clientSecret": "secret-of-the-portal-app",
            "redirectUris": ["http://127.0.0.1:8080/auth/portal/callback"],
            "boundGroup": None,
            "postLogoutRedirectUris": ["http://127.0.0.1:8080/portal?signed=out"],
        },
    ],
    "groups": [ADMINS, "everybody"],
    "users": [OPERATOR, MEMBER],
}
TOKEN = "/application/o/token/"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class StandIn:
    """One instance with its directory; `kill` and `start` again keep port and state."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.clients: list[httpx.Client] = []
        self.http = self.client()
        self.state = directory / "state"
        self.seed_file = directory / "seed.json"
        self.seed = deepcopy(SEED) | {"publicUrl": self.url}
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        module = "infrastructure.sandbox.authentik"
        places = ["--port", str(self.port), "--state", str(self.state), "--seed", str(self.seed_file)]
        return [sys.executable, "-m", module, *places]

    def start(self) -> None:
        self.seed_file.write_text(json.dumps(self.seed))
        self.process = subprocess.Popen(self.command(), cwd=ROOT)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, "the stand-in ended while starting"
            assert time.monotonic() < deadline, "the stand-in did not become ready"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return self.get("/-/health/ready/").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(DEADLINE_SECONDS)
            self.process = None
        # Connections to the old process would fail the first request to the next one.
        self.close()
        self.http = self.client()

    def client(self) -> httpx.Client:
        """A client with cookies of its own; it is closed with the instance."""
        self.clients.append(httpx.Client(base_url=self.url, trust_env=False))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.clients = []

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def api(self, method: str, path: str, body: Any = None, /, **query: Any) -> httpx.Response:
        """A request to the administration API in the name of the seeded token."""
        return self.http.request(
            method,
            f"/api/v3{path}",
            headers={"Authorization": f"Bearer {self.seed['apiToken']}"},
            json=body,
            params=query or None,
        )

    def new_user(self, username: str, /, **members: Any) -> dict[str, Any]:
        answer = self.api("POST", "/core/users/", {"username": username, "name": "", **members})
        assert answer.status_code == 201, answer.text
        user: dict[str, Any] = answer.json()
        return user

    def new_group(self, name: str, /, **members: Any) -> dict[str, Any]:
        answer = self.api("POST", "/core/groups/", {"name": name, **members})
        assert answer.status_code == 201, answer.text
        group: dict[str, Any] = answer.json()
        return group

    def results(self, path: str, /, **query: Any) -> list[dict[str, Any]]:
        """The first page of a list."""
        answer = self.api("GET", path, **query)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["results"]
        return rows

    def give_recovery_flow(self) -> str:
        """Does what an administrator does after a fresh install; returns the flow's slug."""
        flow = {"name": "Recovery", "slug": "recovery", "title": "Recovery", "designation": "recovery"}
        assert self.api("POST", "/flows/instances/", flow).status_code == 201
        (found,) = self.results("/flows/instances/", slug="recovery")
        (brand,) = self.results("/core/brands/")
        answer = self.api("PATCH", f"/core/brands/{brand['brand_uuid']}/", {"flow_recovery": found["pk"]})
        assert answer.json()["flow_recovery"] == found["pk"]
        return "recovery"

    def token(self, client_id: str, person: dict[str, Any], /, **fields: str) -> httpx.Response:
        """The documented form: an app password in the name of a person."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "username": person["username"],
            "password": person["appPassword"],
        }
        return self.http.post(TOKEN, data=form | fields)

    def claims(self, client_id: str, person: dict[str, Any], scope: str = "") -> dict[str, Any]:
        answer = self.token(client_id, person, scope=scope)
        assert answer.status_code == 200, answer.text
        return verified_claims(answer.json()["access_token"], self.jwks(client_id))

    def jwks(self, slug: str) -> dict[str, Any]:
        answer = self.get(f"/application/o/{slug}/jwks/")
        assert answer.status_code == 200
        keys: dict[str, Any] = answer.json()
        return keys


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def header_of(token: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(from_base64url(token.partition(".")[0]))
    return header


def verified_claims(token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """Raises cryptography's InvalidSignature; the key is the one that the header's `kid` names."""
    signed, _, signature = token.rpartition(".")
    (key,) = [key for key in jwks["keys"] if key["kid"] == header_of(token)["kid"]]
    modulus, exponent = (int.from_bytes(from_base64url(key[name]), "big") for name in ("n", "e"))
    public = RSAPublicNumbers(exponent, modulus).public_key()
    public.verify(from_base64url(signature), signed.encode(), PKCS1v15(), SHA256())
    claims: dict[str, Any] = json.loads(from_base64url(signed.split(".")[1]))
    return claims
