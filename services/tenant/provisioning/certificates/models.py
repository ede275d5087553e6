"""A certificate of deletion: what it says, and how it is signed. ``docs/deletion-certificate.md`` is its format."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.tenant.models import Tenant
from services.tenant.provisioning.models import Agreement
from shared.clock import rfc3339
from shared.contracts.tenant import Integration

FORMAT = 1
MEDIA_TYPE = "dezky-deletion-certificate+jws"


@dataclass(frozen=True, slots=True)
class Certificate:
    """``compact`` is the JWS (RFC 7515, compact serialisation); ``public_key`` the JWK that verifies it."""

    tenant_id: str
    slug: str
    compact: str
    payload: Mapping[str, Any]
    public_key: Mapping[str, str]
    issued_at: datetime

    @property
    def sha256(self) -> str:
        """Hex digest of the compact form."""
        return hashlib.sha256(self.compact.encode("ascii")).hexdigest()


Gone = Mapping[Integration, Agreement]
"""Per integration, how many objects of each kind were there and were seen to be gone, and when."""


def payload_of(tenant: Tenant, gone: Gone, issuer: str) -> dict[str, Any]:
    """Return what a certificate says about a tenant that was just erased: no name of a person, and no address."""
    deletion = tenant.deletion
    if deletion is None or deletion.erasing_since is None or deletion.erased_at is None:
        raise ValueError("only a tenant that is erased is certified")
    return {
        "format": FORMAT,
        "issuer": issuer,
        "tenant": {"id": tenant.id, "slug": tenant.slug},
        "requestedAt": rfc3339(deletion.requested_at),
        "erasingSince": rfc3339(deletion.erasing_since),
        "erasedAt": rfc3339(deletion.erased_at),
        "backends": [
            {"name": name, "observedAt": rfc3339(seen.at), "gone": dict(sorted(seen.gone.items()))}
            for name, seen in sorted(gone.items())
        ],
    }


class Signer:
    """Signs with one Ed25519 key (RFC 8037). Its id is the thumbprint of the public key (RFC 7638)."""

    def __init__(self, seed: bytes, issuer: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.issuer = issuer
        # Members in the order in which RFC 7638 section 3.2 hashes them.
        bare = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(self._key.public_key().public_bytes_raw())}
        self.kid = _base64url(hashlib.sha256(orjson.dumps(bare)).digest())
        self.public_key = {**bare, "kid": self.kid, "alg": "EdDSA", "use": "sig"}

    def certify(self, tenant: Tenant, gone: Gone, issued_at: datetime) -> Certificate:
        """Return the certificate of an erased tenant."""
        payload = payload_of(tenant, gone, self.issuer)
        header = {"alg": "EdDSA", "kid": self.kid, "typ": MEDIA_TYPE}
        signed = ".".join(_base64url(orjson.dumps(part, option=orjson.OPT_SORT_KEYS)) for part in (header, payload))
        compact = f"{signed}.{_base64url(self._key.sign(signed.encode('ascii')))}"
        return Certificate(tenant.id, tenant.slug, compact, payload, self.public_key, issued_at)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
