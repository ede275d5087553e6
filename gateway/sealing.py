"""Encryption of what the gateway gives out of its hands: cookies to browsers, sessions to NATS.

AES-256-GCM under keys that are derived (HKDF, RFC 5869) from the configured ones, one per purpose, so that what was
sealed for one surface or use cannot be opened for another. The first configured key seals; all of them open.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32
_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Unsealable(Exception):
    """Not sealed by us, not for this purpose or context, or with a key that is configured no more."""


class Keyring:
    """The configured keys, 32 bytes each. Dropping one ends whatever was sealed with it."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError("one or more keys of 32 bytes each")
        self._keys = tuple(keys)

    def sealer(self, purpose: str) -> Sealer:
        """Return what seals and opens for one purpose."""
        return Sealer([(_derive(key, "key id")[:_ID_BYTES], _derive(key, f"seal {purpose}")) for key in self._keys])

    def index(self, purpose: str) -> Index:
        """Return what makes lookup tags for one purpose."""
        return Index({_derive(key, "key id")[:_ID_BYTES]: _derive(key, f"index {purpose}") for key in self._keys})


class Sealer:
    """Seals bytes into ``key id ‖ nonce ‖ ciphertext``.

    Each context has a key of its own, so that a session that is written anew each minute does not bring random
    nonces near their limit of 2³² per key (NIST SP 800-38D §8.3).
    """

    def __init__(self, keys: Sequence[tuple[bytes, bytes]]) -> None:
        self._first = keys[0][0]
        self._keys = dict(keys)

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt and authenticate ``plain``; only the same ``context`` opens it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._first + nonce + self._cipher(self._first, context).encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> tuple[bytes, bytes]:
        """Return what was sealed, and the id of the key that it was sealed with.

        Raises:
            Unsealable
        """
        key_id, nonce = sealed[:_ID_BYTES], sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        if key_id not in self._keys or len(sealed) < _ID_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise Unsealable
        try:
            plain = self._cipher(key_id, context).decrypt(nonce, sealed[_ID_BYTES + _NONCE_BYTES :], context.encode())
        except InvalidTag:
            raise Unsealable from None
        return plain, key_id

    def _cipher(self, key_id: bytes, context: str) -> AESGCM:
        return AESGCM(hmac.digest(self._keys[key_id], context.encode(), hashlib.sha256))


class Index:
    """Makes tags by which a value is found again and from which it does not follow (HMAC-SHA-256)."""

    def __init__(self, keys: dict[bytes, bytes]) -> None:
        self._keys = keys
        self.first = next(iter(keys))

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """The ids of all keys, the first one first."""
        return tuple(self._keys)

    def tag(self, kind: str, value: bytes, key_id: bytes | None = None) -> bytes:
        """Return 32 bytes for ``value``; ``kind`` keeps values of different kinds apart."""
        return hmac.digest(self._keys[key_id or self.first], kind.encode() + b"\0" + value, hashlib.sha256)


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=f"dezky gateway: {purpose}".encode()).derive(key)
