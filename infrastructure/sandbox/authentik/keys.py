"""The instance's own secrets, made at the first start and kept in the state directory with mode 0600."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import RSAKey

from infrastructure.sandbox.kit import read_or_create

RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class InstanceKeys:
    """`signing` signs every token (RS256, `kid` = RFC 7638 thumbprint); `secret` enters each user's `uid`."""

    signing: RSAKey
    secret: str


def load_keys(state: Path) -> InstanceKeys:
    """Reads the keys of the state directory, making them if they are missing."""
    pem = read_or_create(state / "signing-key.pem", _new_signing_key)
    secret = read_or_create(state / "instance-secret", lambda: secrets.token_hex(32).encode())
    key = RSAKey.import_key(pem, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    return InstanceKeys(signing=key, secret=secret.decode())


def _new_signing_key() -> bytes:
    return RSAKey.generate_key(RSA_BITS, private=True).as_pem(private=True)
