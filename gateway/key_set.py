"""The keys of one issuer, parsed once: which of them may verify what (RFC 7517, RFC 7518, RFC 8037)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.token_errors import BadSignature, KeyNotUsable, UnknownKey
from shared.strict_json import StrictError, decode_base64url

SUPPORTED_ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
MIN_RSA_BITS = 2048
# Verification costs grow with both: a hostile or broken issuer must not be able to stall the gateway.
MAX_RSA_BITS = 8192
MAX_RSA_EXPONENT_BITS = 64

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_SHA256 = SHA256()
_ECDSA = ECDSA(_SHA256)
_PKCS1 = PKCS1v15()
_PSS = PSS(mgf=MGF1(_SHA256), salt_length=32)  # RFC 7518 section 3.5: as long as the hash


class KeySetError(ValueError):
    """The JWKS as a whole cannot be trusted; the message says why."""


class _Skipped(ValueError):
    """One key is of no use to us: another type, another purpose, too weak, or broken."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the algorithms that it may verify. Two are equal if they verify the same tokens."""

    key_id: str | None
    algorithms: frozenset[str]
    public_key: PublicKey

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> None:
        """Check ``signature``.

        Raises:
            KeyNotUsable: the key is of another type, or restricted to another algorithm.
            BadSignature: anything else.
        """
        if algorithm not in self.algorithms:
            raise KeyNotUsable
        try:
            match self.public_key:
                case RSAPublicKey() as key:
                    key.verify(signature, signing_input, _PKCS1 if algorithm == "RS256" else _PSS, _SHA256)
                case EllipticCurvePublicKey() as key:
                    key.verify(_to_der(signature), signing_input, _ECDSA)
                case key:
                    key.verify(signature, signing_input)
        except InvalidSignature as error:
            raise BadSignature from error


class KeySet:
    """An immutable set of verification keys.

    Attributes:
        skipped: how many members of the JWKS were passed over as of no use to us.
    """

    __slots__ = ("_by_id", "keys", "skipped")

    def __init__(self, keys: Iterable[VerificationKey], skipped: int = 0) -> None:
        self.keys = tuple(keys)
        self.skipped = skipped
        self._by_id = {key.key_id: key for key in self.keys if key.key_id is not None}

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any]) -> KeySet:
        """Parse a JWK Set (RFC 7517 section 5).

        A key that we cannot use is passed over, as that section asks: an issuer may publish keys of tomorrow.

        Raises:
            KeySetError: no list of keys, or two members with the same ``kid``: nobody could say which one a
                token means.
        """
        members = jwks.get("keys")
        if not isinstance(members, list) or not all(isinstance(member, Mapping) for member in members):
            raise KeySetError("it has no list of keys")
        key_ids = [member["kid"] for member in members if isinstance(member.get("kid"), str)]
        if len(key_ids) != len(set(key_ids)):
            raise KeySetError("two keys have the same kid")
        keys = []
        for member in members:
            try:
                keys.append(_parse_key(member))
            except _Skipped:
                continue
        return cls(keys, skipped=len(members) - len(keys))

    def select(self, key_id: str | None, algorithm: str) -> VerificationKey:
        """Return the one key that a token with this header means.

        Raises:
            UnknownKey: a key id that no key bears; a newer key set may know it.
            KeyNotUsable: no key id, and not exactly one key for the algorithm.
        """
        if key_id is not None:
            key = self._by_id.get(key_id)
            if key is None:
                raise UnknownKey
            return key
        usable = [key for key in self.keys if algorithm in key.algorithms]
        if len(usable) != 1:
            raise KeyNotUsable
        return usable[0]


def _to_der(signature: bytes) -> bytes:
    # RFC 7518 section 3.4: r and s, 32 octets each, big endian. A DER signature is refused by its length.
    if len(signature) != 64:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def _parse_key(jwk: Mapping[str, Any]) -> VerificationKey:
    if jwk.get("use", "sig") != "sig":
        raise _Skipped
    if "key_ops" in jwk and not _may_verify(jwk["key_ops"]):
        raise _Skipped
    key_id = jwk.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise _Skipped
    key_type = jwk.get("kty")
    parse = _PARSERS.get(key_type) if isinstance(key_type, str) else None
    if parse is None:
        raise _Skipped
    try:
        public_key, algorithms = parse(jwk)
    except (StrictError, UnsupportedAlgorithm, ValueError) as error:
        raise _Skipped from error
    if "alg" in jwk:
        # RFC 9864 gives EdDSA over Ed25519 a name of its own; a key may be marked with either.
        marked = "EdDSA" if jwk["alg"] == "Ed25519" else jwk["alg"]
        algorithms = frozenset(name for name in algorithms if name == marked)
    if not algorithms:
        raise _Skipped
    return VerificationKey(key_id, algorithms, public_key)


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations


def _octets(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise _Skipped
    return decode_base64url(value.encode())


def _parse_rsa(jwk: Mapping[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    modulus = int.from_bytes(_octets(jwk, "n"))
    exponent = int.from_bytes(_octets(jwk, "e"))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or modulus % 2 == 0:
        raise _Skipped
    if exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise _Skipped
    return RSAPublicNumbers(exponent, modulus).public_key(), frozenset({"RS256", "PS256"})


def _parse_ec(jwk: Mapping[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    x, y = _octets(jwk, "x"), _octets(jwk, "y")
    # RFC 7518 section 6.2.1.2: the full size of a coordinate, leading zeros included.
    if jwk.get("crv") != "P-256" or len(x) != 32 or len(y) != 32:
        raise _Skipped
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), SECP256R1())
    return numbers.public_key(), frozenset({"ES256"})


def _parse_okp(jwk: Mapping[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    if jwk.get("crv") != "Ed25519":
        raise _Skipped
    return Ed25519PublicKey.from_public_bytes(_octets(jwk, "x")), frozenset({"EdDSA"})


_PARSERS: dict[str, Callable[[Mapping[str, Any]], tuple[PublicKey, frozenset[str]]]] = {
    "RSA": _parse_rsa,
    "EC": _parse_ec,
    "OKP": _parse_okp,
}
