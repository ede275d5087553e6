"""The stand-in as a process of its own, and an identity provider whose tokens are signed by hand (RFC 7515)."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from tests.sandbox.stalwart.process import Process

TOKEN = "token-of-the-administrator"
GRAPH, BETA = "/graph/v1.0", "/graph/v1beta1"
VIEWER, MANAGER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99", "312c0871-5ef7-4b3a-85b6-0e4074c64049"


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Issuer(ThreadingHTTPServer):
    """Serves discovery and keys under `/application/o/portal/`; `asked` are the paths of its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}/application/o/portal/"
        self.keys: dict[str, RSAPrivateKey] = {}
        self.asked: list[str] = []
        self.rotate("first")
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def rotate(self, kid: str) -> None:
        self.keys = {kid: generate_private_key(65537, 2048)}

    def token(self, name: str, /, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        kid, key = next(iter(self.keys.items()))
        now = int(time.time())
        body: dict[str, Any] = {
            "iss": self.issuer,
            "sub": name,
            "iat": now,
            "exp": now + 300,
            "preferred_username": name,
            "email": f"{name}@acme.example",
            "name": name.title(),
            **claims,
        }
        body = {claim: value for claim, value in body.items() if value is not None}
        head = {"alg": "RS256", "typ": "JWT", "kid": kid, **(header or {})}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, body))
        return f"{signed}.{base64url(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def document(self, path: str) -> dict[str, Any] | None:
        base = "/application/o/portal/"
        if path == f"{base}.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}jwks/"}
        if path != f"{base}jwks/":
            return None
        keys = []
        for kid, key in self.keys.items():
            numbers = key.public_key().public_numbers()
            modulus, exponent = (n.to_bytes((n.bit_length() + 7) // 8, "big") for n in (numbers.n, numbers.e))
            public = {"n": base64url(modulus), "e": base64url(exponent)}
            keys.append({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, **public})
        return {"keys": keys}


class Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        document = self.server.document(self.path)
        content = json.dumps(document).encode()
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        return


class Ocis(Process):
    def __init__(self, directory: Path, **settings: Any) -> None:
        seed = {"publicUrl": "https://files.example", "tokens": [TOKEN], **settings}
        super().__init__("ocis", "/readyz", directory, seed)

    def send(
        self, method: str, path: str, body: Any = None, *, token: str = TOKEN, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return self.http.request(method, path, headers=sent, **({} if body is None else {"json": body}))

    def get(self, path: str, token: str = TOKEN) -> dict[str, Any]:
        answer = self.send("GET", path, token=token)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def make(self, path: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
        answer = self.send("POST", path, body)
        assert answer.status_code == status, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def user(self, name: str, **more: Any) -> dict[str, Any]:
        body = {"displayName": name.title(), "onPremisesSamAccountName": name, "mail": f"{name}@acme.example", **more}
        return self.make(f"{GRAPH}/users", body)

    def group(self, name: str) -> dict[str, Any]:
        return self.make(f"{GRAPH}/groups", {"displayName": name})

    def drive(self, name: str, **more: Any) -> str:
        made = self.make(f"{GRAPH}/drives", {"name": name, "driveType": "project", **more})
        identity: str = made["id"]
        return identity

    def invite(self, drive: str, kind: str, holder: str, role: str = VIEWER) -> httpx.Response:
        recipient = {"objectId": holder, "@libre.graph.recipient.type": kind}
        return self.send("POST", f"{root(drive)}/invite", {"recipients": [recipient], "roles": [role]})

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / "audit.log").read_text().splitlines()]


def drive_path(drive: str) -> str:
    return f"{GRAPH}/drives/{quote(drive, safe='')}"


def root(drive: str) -> str:
    return f"{BETA}/drives/{quote(drive, safe='')}/root"


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an OData error, whose shape is checked on the way."""
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "innererror"}
    assert error["innererror"].keys() == {"date", "request-id"}
    assert error["message"]
    return answer.status_code, error["code"]
