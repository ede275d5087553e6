"""Access tokens of an identity provider, RS256: as many as it takes to be new to a cache each time."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

ISSUER = "http://127.0.0.1/application/o/dezky-portal/"
AUDIENCE = "dezky-portal"
KEY_ID = "benchmark-1"
_PART = 1_000


def _b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class TokenIssuer:
    """A provider with one RSA key of 2048 bits."""

    def __init__(self) -> None:
        self._key = generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> bytes:
        """Return the public key as a JWK Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        members = {"n": numbers.n.to_bytes(256, "big"), "e": numbers.e.to_bytes(3, "big")}
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID}
        key |= {name: _b64(value).decode() for name, value in members.items()}
        return json.dumps({"keys": [key]}).encode()

    def tokens(self, count: int) -> list[str]:
        """Return ``count`` different tokens of one person, good for an hour."""
        raw = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        if count < _PART:
            return _sign(raw, count, 0)
        # RSA signing is the slow half: a third of a millisecond each.
        with ProcessPoolExecutor(initializer=None, mp_context=get_context("spawn")) as pool:
            parts = pool.map(partial(_sign, raw, _PART), range(0, count, _PART))
            return [token for part in parts for token in part][:count]


def _sign(raw: bytes, count: int, first: int) -> list[str]:
    key = load_der_private_key(raw, None)
    assert isinstance(key, RSAPrivateKey)
    header = _b64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}).encode())
    now = int(time.time())
    tokens = []
    for number in range(first, first + count):
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "5f" * 32,
            "iat": now,
            "exp": now + 3600,
            "jti": f"{number:032x}",
            "scope": "openid email profile",
            "email": "staff@nordic.example",
            "name": "Stig Staff",
            "groups": ["dezky-partner-staff"],
        }
        signed = header + b"." + _b64(json.dumps(claims).encode())
        tokens.append((signed + b"." + _b64(key.sign(signed, PKCS1v15(), SHA256()))).decode())
    return tokens
