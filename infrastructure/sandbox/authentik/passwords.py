"""Passwords of the login page, kept as scrypt hashes (RFC 7914)."""

import hashlib
import hmac
import secrets

# 16 MiB and a few tens of milliseconds a guess, which the first start pays once for each seeded user.
COST, BLOCK, PARALLEL = 2**14, 8, 1
# Well-formed, and nobody's.
NOBODY = f"scrypt${'00' * 16}${'00' * 64}"


def hash_password(password: str) -> str:
    """`scrypt$<salt>$<hash>`, both in hex, with a fresh salt."""
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${_derive(password, salt).hex()}"


def verify_password(password: str, hashed: str | None) -> bool:
    """True if the hash is the password's. Without a hash it is False, after the same time."""
    _, salt, expected = (hashed or NOBODY).split("$")
    right = hmac.compare_digest(_derive(password, bytes.fromhex(salt)), bytes.fromhex(expected))
    return right and hashed is not None


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL)
