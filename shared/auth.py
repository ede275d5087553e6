"""Who is calling: the internal token (Ed25519, 60 seconds) and the policy aliases that routes name.

The gateway authenticates; services authorise. A service believes only a token that names it as audience and
is signed by a key of the static set. A key belongs to one process: only the gateway's may carry a person, any
other carries ``service:<owner>`` and nothing else. Format: JWS compact (RFC 7515) with EdDSA (RFC 8037).
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.ids import new_id
from shared.settings import PublicKey, decode_key

TOKEN_TYPE = "dezky-internal+jwt"
LIFETIME = timedelta(seconds=60)
_SKEW_SECONDS = 5
_CACHE_SIZE = 4_096
GATEWAY = "gateway"

Surface = Literal["operator", "portal"]
PartnerRoleName = Literal["owner", "staff"]
TenantRoleName = Literal["admin", "member"]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class PartnerRole(_Wire):
    """A person's place in one partner."""

    slug: str
    role: PartnerRoleName


class Person(_Wire):
    """A human caller, as the directory knows them at the version given.

    Attributes:
        tenants: tenant slug → role, of tenants that the person belongs to.
        platform_admin: the operator group, as the identity provider's token says now.
    """

    id: str
    subject: str
    email: str
    name: str
    surface: Surface
    groups: tuple[str, ...] = ()
    platform_admin: bool = False
    partner: PartnerRole | None = None
    tenants: dict[str, TenantRoleName] = {}
    version: int = 0

    @property
    def is_operator(self) -> bool:
        """Operator surface *and* operator group; the same person on the portal is none."""
        return self.surface == "operator" and self.platform_admin

    @property
    def identity(self) -> str:
        """What idempotency keys and rate limits are bound to."""
        return f"person:{self.id}:{self.surface}"


class ServicePrincipal(_Wire):
    """Another process of the fleet."""

    name: str

    @property
    def identity(self) -> str:
        return f"service:{self.name}"


Principal = Person | ServicePrincipal


def _b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def public_key_of(seed: bytes) -> str:
    """Return the base64url public key of an Ed25519 seed of 32 bytes."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return _b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


class InternalTokenIssuer:
    """Signs internal tokens with the key of one process."""

    def __init__(self, owner: str, kid: str, seed: bytes, clock: Clock) -> None:
        self._owner = owner
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._header = _b64(orjson.dumps({"alg": "EdDSA", "kid": kid, "typ": TOKEN_TYPE}))
        self._clock = clock

    def issue(self, audience: str, principal: Principal | None = None) -> str:
        """Return a token for ``audience``, good for 60 seconds; without a principal, for this process itself."""
        principal = principal or ServicePrincipal(name=self._owner)
        kind = "person" if isinstance(principal, Person) else "service"
        issued = int(self._clock.now().timestamp())
        claims = {
            "iss": self._owner,
            "aud": audience,
            "iat": issued,
            "exp": issued + int(LIFETIME.total_seconds()),
            "jti": new_id(),
            "principal": {"kind": kind, **principal.model_dump(by_alias=True)},
        }
        signed = self._header + b"." + _b64(orjson.dumps(claims))
        return (signed + b"." + _b64(self._key.sign(signed))).decode()


class InternalTokenVerifier:
    """Verifies internal tokens for one audience; a token seen before costs a look-up until it expires."""

    def __init__(self, audience: str, keys: Mapping[str, PublicKey], clock: Clock) -> None:
        self._audience = audience
        self._clock = clock
        self._keys = {
            kid: (key.owner, Ed25519PublicKey.from_public_bytes(decode_key(key.x))) for kid, key in keys.items()
        }
        self._seen: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """Return the principal inside ``token``.

        Raises:
            Unauthenticated: forged, expired, for another audience, by an unknown key, or carrying a
                principal that its key may not carry. The detail names no more than the class of fault.
        """
        digest = hashlib.sha256(token.encode()).digest()
        now = int(self._clock.now().timestamp())
        if (known := self._seen.get(digest)) is not None:
            if known[0] <= now:
                del self._seen[digest]
                raise Unauthenticated("the internal token has expired")
            self._seen.move_to_end(digest)
            return known[1]
        expires, principal = self._verify(token.encode(), now)
        self._seen[digest] = (expires, principal)
        if len(self._seen) > _CACHE_SIZE:
            self._seen.popitem(last=False)
        return principal

    def _verify(self, token: bytes, now: int) -> tuple[int, Principal]:
        try:
            signed, _, signature = token.rpartition(b".")
            encoded_header, encoded_claims = signed.split(b".")
            header = orjson.loads(_unb64(encoded_header))
            owner, key = self._keys[header["kid"]]
            if header.get("alg") != "EdDSA" or header.get("typ") != TOKEN_TYPE:
                raise Unauthenticated("this is no internal token")
            key.verify(_unb64(signature), signed)
            claims = orjson.loads(_unb64(encoded_claims))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
            raise Unauthenticated("the internal token is not genuine") from error
        return self._check(claims, owner, now)

    def _check(self, claims: Any, owner: str, now: int) -> tuple[int, Principal]:
        if not isinstance(claims, dict) or claims.get("iss") != owner or claims.get("aud") != self._audience:
            raise Unauthenticated("the internal token is for another audience")
        issued, expires = claims.get("iat"), claims.get("exp")
        if type(issued) is not int or type(expires) is not int:
            raise Unauthenticated("the internal token is not genuine")
        if expires <= now or issued > now + _SKEW_SECONDS or expires - issued > LIFETIME.total_seconds():
            raise Unauthenticated("the internal token has expired")
        return expires, _principal(claims.get("principal"), owner)


def _principal(raw: Any, owner: str) -> Principal:
    try:
        if raw["kind"] == "person" and owner == GATEWAY:
            return Person.model_validate(raw)
        if raw["kind"] == "service" and raw["name"] == owner:
            return ServicePrincipal(name=owner)
    except (ValidationError, KeyError, TypeError) as error:
        raise Unauthenticated("the internal token is not genuine") from error
    raise Unauthenticated("the key of this internal token may not carry that principal")
