"""Bearer tokens of the identity provider: RS256, by the keys that its discovery document names (RFC 7515, RFC 7519)."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import httpx
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from infrastructure.sandbox.ocis.gate import Refused

DEADLINE_SECONDS = 5
# An unknown key is looked for again only so often: tokens must not be able to cause requests.
REFRESH_SECONDS = 2
DISCOVERY = "/.well-known/openid-configuration"
Provision = Callable[[dict[str, Any]], sqlite3.Row]


class SignIn:
    """Verifies a token and hands its claims to `provision`. Without an issuer nobody can sign in."""

    def __init__(self, issuer: str | None, provision: Provision) -> None:
        self._issuer = issuer
        self._provision = provision
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=DEADLINE_SECONDS)
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def __call__(self, token: str) -> sqlite3.Row:
        """Raises Refused: 401 for a token that does not hold, 500 for a claim that is missing."""
        return self._provision(await self._claims(token))

    async def close(self) -> None:
        await self._client.aclose()

    async def _claims(self, token: str) -> dict[str, Any]:
        if self._issuer is None:
            raise _unauthenticated()
        payload = await self._payload(token)
        try:
            claims = json.loads(payload)
            expires, starts = float(claims["exp"]), float(claims.get("nbf", 0))
        except (ValueError, KeyError, TypeError):
            raise _unauthenticated() from None
        if claims.get("iss") != self._issuer or not starts <= time.time() < expires:
            raise _unauthenticated()
        return dict(claims)

    async def _payload(self, token: str) -> bytes:
        for again in (False, True):
            keys = await self._key_set(again=again)
            try:
                return jws.deserialize_compact(token, keys, algorithms=["RS256"]).payload
            except (JoseError, ValueError):
                continue
        raise _unauthenticated()

    async def _key_set(self, *, again: bool) -> KeySet:
        async with self._lock:
            stale = time.monotonic() - self._fetched >= REFRESH_SECONDS
            if self._keys is None or (again and stale):
                self._keys = await self._fetch()
                self._fetched = time.monotonic()
            return self._keys

    async def _fetch(self) -> KeySet:
        assert self._issuer is not None, "asked by _claims"
        try:
            document = await self._client.get(self._issuer.rstrip("/") + DISCOVERY)
            metadata = document.raise_for_status().json()
            if metadata["issuer"] != self._issuer:
                raise _unauthenticated()
            keys = await self._client.get(metadata["jwks_uri"])
            return KeySet.import_key_set(keys.raise_for_status().json())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, JoseError):
            # As the original: who cannot be verified is not let in, whatever the reason.
            raise _unauthenticated() from None


def _unauthenticated() -> Refused:
    return Refused(401, "unauthenticated", "the access token is not valid")
