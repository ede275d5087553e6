"""Random values that are shown once and kept as digests: cookies, codes, refresh tokens, links."""

import secrets
from hashlib import sha256


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """A plain hash is enough for what is generated, never chosen."""
    return sha256(secret.encode()).hexdigest()
