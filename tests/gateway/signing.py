"""A signer that shares nothing with the gateway: the primitives of `cryptography`, put together by RFC 7515."""

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Sign = Callable[[bytes], bytes]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def b64_number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8 or 1))


def new_rsa(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk_of(key: PrivateKey, **members: Any) -> dict[str, Any]:
    """The public JWK of a private key, with these members beside (RFC 7518 section 6, RFC 8037 section 2)."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": b64_number(numbers.n), "e": b64_number(numbers.e), **members}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        size = (key.curve.key_size + 7) // 8
        name = {"secp256r1": "P-256", "secp384r1": "P-384"}.get(key.curve.name, key.curve.name)
        return {
            "kty": "EC",
            "crv": name,
            "x": b64(point.x.to_bytes(size)),
            "y": b64(point.y.to_bytes(size)),
            **members,
        }
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **members}


def signer(key: PrivateKey, algorithm: str) -> Sign:
    """Return what turns a signing input into a JOSE signature (RFC 7518 sections 3.3 to 3.5, RFC 8037)."""

    def sign(message: bytes) -> bytes:
        if isinstance(key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            return key.sign(message, pss if algorithm == "PS256" else padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
            size = (key.curve.key_size + 7) // 8
            return r.to_bytes(size) + s.to_bytes(size)
        return key.sign(message)

    return sign


def compact(header: str | dict[str, Any], sign: Sign, payload: bytes | dict[str, Any]) -> str:
    """Sign ``payload``; a header or payload given as text or bytes is taken as it stands, however broken."""
    head = header if isinstance(header, str) else json.dumps(header)
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = f"{b64(head.encode())}.{b64(body)}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"
