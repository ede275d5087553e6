"""From the bytes of a bearer token to somebody whom a configured issuer vouches for."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx

from gateway.claims import (
    Validity,
    audiences,
    check_kind,
    check_validity,
    optional_text,
    parse_claims,
    required_text,
    texts,
)
from gateway.jwks import JwksSource
from gateway.key_set import KeySet
from gateway.providers import Provider, Providers
from gateway.token_errors import AlgorithmNotAllowed, UnknownIssuer, UnknownKey, WrongAudience
from gateway.tokens import CompactJws, parse_compact, verify_signature
from shared.clock import Clock

CACHE_SIZE = 16_384


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a provider says of the caller.

    Attributes:
        issued_at, expires_at: seconds since 1970, never after the year 9999. ``issued_at`` is 0 when the token
            does not say: whatever refuses what was issued before some moment refuses it.
        claims: all of them, read-only; the members above are already checked, the rest only by their issuer.
    """

    provider: Provider
    subject: str
    email: str | None
    name: str | None
    groups: tuple[str, ...]
    issued_at: float
    expires_at: float
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Verified:
    provider: Provider
    keys: KeySet
    type: str | None
    claims: dict[str, Any]
    validity: Validity


@dataclass(frozen=True, slots=True)
class _Remembered:
    token: VerifiedToken
    source: JwksSource
    keys: KeySet


class Authenticator:
    """Verifies access tokens.

    A token seen before costs a hash and a look-up, until it expires or until its issuer's keys change: a key
    that was withdrawn takes every token that it signed with it.
    """

    def __init__(
        self,
        providers: Providers,
        sources: Mapping[Provider, JwksSource],
        *,
        clock: Clock,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        self._providers = providers
        self._sources = dict(sources)
        self._clock = clock
        self._cache_size = cache_size
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    @classmethod
    def over(cls, providers: Providers, client: httpx.AsyncClient, *, clock: Clock) -> Authenticator:
        """Build with a key source per provider, all of them over ``client``."""
        sources = {provider: JwksSource(provider, client) for provider in providers}
        return cls(providers, sources, clock=clock)

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """Return whom the token speaks of.

        Raises:
            TokenError: the token does not count (401); the subclass says why.
            KeysUnavailable: its issuer's keys cannot be fetched (503).
        """
        fingerprint = hashlib.sha256(token).digest()
        known = self._remembered.get(fingerprint)
        if known is not None:
            # To the second, without the skew: past it, the token is judged afresh each time.
            fresh = self._clock.now().timestamp() < known.token.expires_at
            if fresh and known.source.current() is known.keys:
                self._remembered.move_to_end(fingerprint)
                return known.token
            self._remembered.pop(fingerprint, None)
        verified = await self._verify(token)
        self._remember(fingerprint, verified)
        return verified.token

    async def warm(self) -> None:
        """Fetch every provider's keys that are not there yet.

        Raises:
            KeysUnavailable: an issuer does not answer; the next token tries again.
        """
        for source in self._sources.values():
            await source.keys()

    async def aclose(self) -> None:
        """Abandon the fetches under way. The client belongs to whoever made it."""
        for source in self._sources.values():
            await source.aclose()

    async def claims_of(self, token: bytes, provider: Provider) -> tuple[str | None, dict[str, Any]]:
        """Return type and claims of a token of another kind: signed by ``provider``, for one of its audiences, in time.

        What kind it is, and what that kind must say, is for the caller to check.

        Raises:
            TokenError, KeysUnavailable
        """
        verified = await self._verify_claims(token)
        if verified.provider != provider:
            raise WrongAudience
        return verified.type, verified.claims

    async def _verify_claims(self, token: bytes) -> _Verified:
        jws = parse_compact(token)
        # Unverified, but only to find out which provider's keys to try. Its word counts after the signature.
        claims = parse_claims(jws.payload)
        provider = self._provider_of(claims)
        if jws.header.algorithm not in provider.algorithms:
            raise AlgorithmNotAllowed  # Before any key is fetched for it.
        keys = await self._verify_signature(jws, provider, self._sources[provider])
        validity = check_validity(claims, self._clock.now().timestamp())
        return _Verified(provider, keys, jws.header.type, claims, validity)

    async def _verify(self, token: bytes) -> _Remembered:
        verified = await self._verify_claims(token)
        provider, claims = verified.provider, verified.claims
        check_kind(verified.type, claims)
        believed = VerifiedToken(
            provider=provider,
            subject=required_text(claims, "sub"),
            email=optional_text(claims, "email"),
            name=optional_text(claims, "name"),
            groups=texts(claims, "groups"),
            issued_at=verified.validity.issued_at,
            expires_at=verified.validity.expires_at,
            claims=MappingProxyType(claims),
        )
        return _Remembered(believed, self._sources[provider], verified.keys)

    def _provider_of(self, claims: dict[str, Any]) -> Provider:
        issuer = required_text(claims, "iss")
        named = audiences(claims)
        if not self._providers.knows_issuer(issuer):
            raise UnknownIssuer
        provider = self._providers.select(issuer, named)
        if provider is None:
            raise WrongAudience
        return provider

    @staticmethod
    async def _verify_signature(jws: CompactJws, provider: Provider, source: JwksSource) -> KeySet:
        keys = await source.keys()
        try:
            verify_signature(jws, keys, provider.algorithms)
        except UnknownKey:
            # Perhaps the issuer has begun to sign with a key that it did not have when we last asked.
            renewed = await source.keys_after_unknown_id()
            if renewed is keys:
                raise
            verify_signature(jws, renewed, provider.algorithms)
            return renewed
        return keys

    def _remember(self, fingerprint: bytes, verified: _Remembered) -> None:
        self._remembered[fingerprint] = verified
        while len(self._remembered) > self._cache_size:
            self._remembered.popitem(last=False)
