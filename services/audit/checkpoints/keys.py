"""The keys of checkpoints: who signs which number, and whose signature is believed on which.

Every key has a window of numbers. A checkpoint carries exactly one signature of each key whose window holds its
number: a key that has retired vouches for old checkpoints only, and a signature that was taken away is missed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.audit.checkpoints.models import MalformedCheckpointError, Row, check_form, signed_bytes

HMAC = "HMAC-SHA-256"
ED25519 = "Ed25519"
_HMAC_ID = b"dezky-audit/key-id/v1"
_ID_DIGITS = 16


class Key(Protocol):
    """A key that can tell its own signature; one that holds its secret can make it, too."""

    @property
    def id(self) -> str: ...

    @property
    def algorithm(self) -> str: ...

    @property
    def can_sign(self) -> bool: ...

    def sign(self, message: bytes) -> bytes: ...

    def verifies(self, message: bytes, signature: bytes) -> bool: ...


class HmacKey:
    """HMAC-SHA-256 (RFC 2104): for who holds the secret."""

    algorithm = HMAC
    can_sign = True

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = self.sign(_HMAC_ID).hex()[:_ID_DIGITS]

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, hashlib.sha256)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)


class Ed25519Key:
    """Ed25519 (RFC 8032): for everybody who knows the public key. Without the seed it only verifies."""

    algorithm = ED25519

    def __init__(self, public: bytes, seed: bytes | None = None) -> None:
        self._private = None if seed is None else Ed25519PrivateKey.from_private_bytes(seed)
        self.public = public if self._private is None else self._private.public_key().public_bytes_raw()
        self._public = Ed25519PublicKey.from_public_bytes(self.public)
        self.id = hashlib.sha256(self.public).hexdigest()[:_ID_DIGITS]

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Key:
        return cls(b"", seed)

    @property
    def can_sign(self) -> bool:
        return self._private is not None

    def sign(self, message: bytes) -> bytes:
        if self._private is None:
            raise MissingKeyError(f"the seed of {self.id} is not here")
        return self._private.sign(message)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class MissingKeyError(Exception):
    """A key whose turn it is to sign has no secret here."""


class BadSignatureError(Exception):
    """The signatures of a checkpoint are not those that it must carry; says which."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """A key and the numbers of checkpoints that it signs, both ends included; None is without an end."""

    key: Key
    first: int = 1
    last: int | None = None

    def holds(self, number: int) -> bool:
        return self.first <= number and (self.last is None or number <= self.last)


class CheckpointKeys:
    """All keys, of the past and of now."""

    def __init__(self, tenures: Iterable[Tenure]) -> None:
        self._tenures: Sequence[Tenure] = tuple(tenures)

    @property
    def tenures(self) -> Sequence[Tenure]:
        return self._tenures

    def of(self, number: int) -> list[Key]:
        """The keys that sign this checkpoint, HMAC first."""
        keys = [tenure.key for tenure in self._tenures if tenure.holds(number)]
        return sorted(keys, key=lambda key: (key.algorithm != HMAC, key.id))

    def sign(self, row: Row) -> list[dict[str, str]]:
        """The signatures of a checkpoint that is otherwise complete. Raises MissingKeyError."""
        keys = self.of(row["_id"])
        if not keys:
            raise MissingKeyError(f"no key signs checkpoint {row['_id']}")
        if missing := [key.id for key in keys if not key.can_sign]:
            raise MissingKeyError(f"checkpoint {row['_id']} needs the secret of {', '.join(missing)}")
        message = signed_bytes(row)
        return [
            {
                "sigAlg": key.algorithm,
                "keyId": key.id,
                "signature": base64.b64encode(key.sign(message)).decode(),
            }
            for key in keys
        ]

    def check(self, row: Row) -> None:
        """Raise MalformedCheckpointError or BadSignatureError unless the row is a checkpoint signed as it must be."""
        check_form(row)
        message = signed_bytes(row)
        due = {(key.algorithm, key.id): key for key in self.of(row["_id"])}
        if not due:
            raise BadSignatureError(f"no key signs checkpoint {row['_id']}")
        for item in row["signatures"]:
            name = (item["sigAlg"], item["keyId"])
            key = due.pop(name, None)
            if key is None:
                raise BadSignatureError(f"{name[0]} by {name[1]}, who does not sign this checkpoint")
            if not key.verifies(message, _decoded(item["signature"])):
                raise BadSignatureError(f"{name[0]} by {name[1]} does not match")
        if due:
            raise BadSignatureError(f"none by {', '.join(key_id for _, key_id in sorted(due))}")


def complaint(keys: CheckpointKeys, row: Row) -> str | None:
    """What is wrong with a stored checkpoint by itself, or None."""
    try:
        keys.check(row)
    except MalformedCheckpointError as error:
        return f"malformed: {error}"
    except BadSignatureError as error:
        return str(error)
    return None


def _decoded(text: Any) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    # One text for each signature: the bits that base64 leaves unused are not free to vary.
    return decoded if base64.b64encode(decoded).decode() == text else b""
