"""Signed tokens below their claims: the compact JWS (RFC 7515), read strictly.

The order is always the same: size, form, header, algorithm, key, signature. Nothing in a token is ever
fetched, and nothing in it chooses how it is verified beyond picking one of the keys and algorithms that the
operator has allowed (RFC 8725 sections 3.1 and 3.10).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from gateway.key_set import SUPPORTED_ALGORITHMS, KeySet, KeySetError
from gateway.token_errors import AlgorithmNotAllowed, HeaderNotAllowed, KeyNotUsable, MalformedToken
from shared.strict_json import StrictError, decode_base64url, parse_object

MAX_TOKEN_BYTES = 8 * 1024

# A key or a place to fetch one, chosen by whoever wrote the token (CVE-2018-0114 and its kin).
_CALLERS_KEYS = frozenset({"jwk", "jku", "x5u", "x5c"})
# We understand no extension, so any ``crit`` is unknown; ``enc`` marks a JWE (RFC 7516 section 9).
_REFUSED_MEMBERS = _CALLERS_KEYS | {"crit", "enc"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a protected header says, of what we listen to. ``type`` is lower case, without ``application/``."""

    algorithm: str
    key_id: str | None
    type: str | None


@dataclass(frozen=True, slots=True)
class CompactJws:
    """A token taken apart, its signature not yet verified: nothing in it is to be believed."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes


def verify_jws(token: bytes | str, jwks: Mapping[str, Any], allowed_algorithms: Collection[str]) -> bytes:
    """Verify a compact JWS against a JWK Set and return its payload.

    The payload may be anything; what it claims is checked elsewhere. Parsed keys are kept per JWKS.

    Raises:
        TokenError: the subclass says why.
    """
    jws = parse_compact(token)
    try:
        keys = _key_set(orjson.dumps(dict(jwks)))
    except (KeySetError, orjson.JSONEncodeError) as error:
        raise KeyNotUsable from error
    verify_signature(jws, keys, allowed_algorithms)
    return jws.payload


def parse_compact(token: bytes | str) -> CompactJws:
    """Take a compact JWS apart.

    Raises:
        MalformedToken: more than 8 KiB, not three parts, not canonical base64url, or no proper JSON header.
        HeaderNotAllowed: a header member that no signature can excuse.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedToken("The token is too large")
    try:
        raw = token.encode("ascii") if isinstance(token, str) else token
        encoded_header, encoded_payload, encoded_signature = raw.split(b".")
        return CompactJws(
            header=_parse_header(encoded_header),
            payload=decode_base64url(encoded_payload),
            signing_input=raw[: -len(encoded_signature) - 1],
            signature=decode_base64url(encoded_signature),
        )
    except ValueError as error:  # StrictError, UnicodeEncodeError, or another number of parts
        raise MalformedToken from error


def verify_signature(jws: CompactJws, keys: KeySet, allowed_algorithms: Collection[str]) -> None:
    """Verify the signature; on return the payload is the issuer's word.

    Raises:
        AlgorithmNotAllowed: not allowed here, or not one that we implement: never ``none``, never an HMAC.
        UnknownKey, KeyNotUsable, BadSignature: see `gateway.token_errors`.
    """
    algorithm = jws.header.algorithm
    if algorithm not in allowed_algorithms or algorithm not in SUPPORTED_ALGORITHMS:
        raise AlgorithmNotAllowed
    keys.select(jws.header.key_id, algorithm).verify(algorithm, jws.signing_input, jws.signature)


# An issuer writes the same header on every token that it signs with one key. The bound keeps what strangers
# send us from growing: 256 headers of at most 8 KiB.
@lru_cache(maxsize=256)
def _parse_header(encoded: bytes) -> Header:
    members = parse_object(decode_base64url(encoded))
    if not _REFUSED_MEMBERS.isdisjoint(members):
        raise HeaderNotAllowed
    if members.get("b64", True) is not True:  # RFC 7797: an unencoded payload, which JWTs must not use
        raise HeaderNotAllowed
    algorithm = members.get("alg")
    key_id = members.get("kid")
    media_type = members.get("typ")
    if not isinstance(algorithm, str) or ("kid" in members and not isinstance(key_id, str)):
        raise StrictError("a header member of the wrong type")
    if "typ" in members and not isinstance(media_type, str):
        raise StrictError("a header member of the wrong type")
    kind = media_type.lower().removeprefix("application/") if media_type is not None else None
    return Header(algorithm, key_id, kind)


@lru_cache(maxsize=32)
def _key_set(jwks: bytes) -> KeySet:
    return KeySet.from_jwks(orjson.loads(jwks))
