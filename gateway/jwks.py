"""Where an issuer's keys come from: fetched from a configured address, kept, and renewed before they age.

When a key set is how old:

    0 ──── fresh ────► refresh_after ──── renewed in the background ────► expires_after ──── renewed while the
    caller waits, unless the issuer is known to be down: then served as it is, and tried again in the
    background ────► stale_for ──── nobody's token can be judged (503)

What a token says never leads to a fetch, with one exception: an unknown key id may bring forward the next
fetch of the configured address, once per cool-down, however many tokens ask for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from prometheus_client import Counter, Gauge

from gateway.key_set import KeySet, KeySetError
from gateway.providers import Provider
from gateway.token_errors import KeysUnavailable
from shared.strict_json import StrictError, parse_object

MAX_DOCUMENT_BYTES = 64 * 1024

_fetches = Counter("dezky_gateway_jwks_fetches_total", "Attempts to fetch an issuer's keys", ["issuer", "outcome"])
_fetched = Gauge(
    "dezky_gateway_jwks_fetched_timestamp_seconds", "When an issuer's keys were last fetched, in Unix time", ["issuer"]
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JwksTiming:
    """All in seconds. ``retry_after`` is the pause after a failure while there are no keys at all."""

    refresh_after: float = 300
    expires_after: float = 600
    stale_for: float = 86_400
    cool_down: float = 10
    retry_after: float = 1
    timeout: float = 3


class DocumentRefusedError(ValueError):
    """An answer of the issuer that is not taken; the message says why."""


class JwksSource:
    """The keys of one provider.

    Concurrent callers share one fetch. A fetch that fails, or that brings no usable key, changes nothing. A
    fetch that brings the same keys again returns the same `KeySet` object, so that what was verified with it
    stays verified.
    """

    def __init__(
        self,
        provider: Provider,
        client: httpx.AsyncClient,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        timing: JwksTiming | None = None,
    ) -> None:
        self._provider = provider
        self._client = client
        self._monotonic = monotonic
        self._timing = timing or JwksTiming()
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._failed_at: float | None = None
        self._unknown_key_at = -math.inf
        self._flight: asyncio.Task[None] | None = None
        for outcome in ("fetched", "failed"):
            _fetches.labels(provider.issuer, outcome)

    def current(self) -> KeySet | None:
        """Return the keys if they can be had without waiting, and see to it that they do not grow old."""
        age = self._monotonic() - self._fetched_at
        if self._keys is None or age >= self._timing.stale_for:
            return None
        if age >= self._timing.refresh_after and self._may_try(self._timing.cool_down):
            self._start()
        if age >= self._timing.expires_after and self._failed_at is None:
            return None
        return self._keys

    async def keys(self) -> KeySet:
        """Return the keys, fetching them if need be.

        Raises:
            KeysUnavailable: there are none, or none young enough, and the issuer does not answer.
        """
        keys = self.current()
        if keys is not None:
            return keys
        if self._flight is not None or self._may_try(self._timing.retry_after):
            await self._join(self._start())
        keys = self.current()
        if keys is None:
            raise KeysUnavailable(retry_after=math.ceil(self._timing.retry_after))
        return keys

    async def keys_after_unknown_id(self) -> KeySet:
        """Return the keys, fetched again if the cool-down since the last such request allows.

        Raises:
            KeysUnavailable: as `keys`.
        """
        before = self._keys
        if self._flight is not None:
            await self._join(self._flight)
        if self._keys is before:
            now = self._monotonic()
            if now - self._unknown_key_at >= self._timing.cool_down:
                self._unknown_key_at = now
                await self._join(self._start())
            elif self._flight is not None:  # Begun by a twin of this request a moment ago.
                await self._join(self._flight)
        return await self.keys()

    async def aclose(self) -> None:
        """Abandon a fetch under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _may_try(self, pause: float) -> bool:
        return self._failed_at is None or self._monotonic() - self._failed_at >= pause

    def _start(self) -> asyncio.Task[None]:
        if self._flight is None:
            self._flight = asyncio.create_task(self._refresh(), name=f"jwks {self._provider.issuer}")
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, _flight: asyncio.Task[None]) -> None:
        self._flight = None

    @staticmethod
    async def _join(flight: asyncio.Task[None]) -> None:
        # A caller that goes away must not take the fetch of all the others with it.
        await asyncio.shield(flight)

    async def _refresh(self) -> None:
        try:
            keys = KeySet.from_jwks(await self._fetch_document(await self._address()))
            if not keys.keys:
                raise KeySetError("it has no key that we could use")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
            self._failed_at = self._monotonic()
            _fetches.labels(self._provider.issuer, "failed").inc()
            _log.warning(
                "jwks.refresh_failed",
                issuer=self._provider.issuer,
                problem=str(error) or type(error).__name__,
                keys_kept=len(self._keys.keys) if self._keys else 0,
            )
            return
        self._failed_at = None
        self._fetched_at = self._monotonic()
        _fetches.labels(self._provider.issuer, "fetched").inc()
        _fetched.labels(self._provider.issuer).set_to_current_time()
        if self._keys is None or self._keys.keys != keys.keys:
            _log.info("jwks.changed", issuer=self._provider.issuer, keys=len(keys.keys), skipped=keys.skipped)
            self._keys = keys

    async def _address(self) -> str:
        """Find the JWKS: as configured, or by OpenID Connect Discovery 1.0 section 4."""
        if self._provider.jwks_uri is not None:
            return self._provider.jwks_uri
        issuer = self._provider.issuer
        document = await self._fetch_document(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:  # section 4.3: or one issuer could speak for another
            raise DocumentRefusedError("the discovery document is of another issuer")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or _origin(address) != _origin(issuer):
            # Outbound targets come from configuration. An issuer whose keys live elsewhere is configured so.
            raise DocumentRefusedError("jwks_uri is not of the issuer's origin: configure jwksUri")
        return address

    async def _fetch_document(self, address: str) -> dict[str, Any]:
        # A compressed answer could be a thousand times what the limit allows, so none is asked for or taken.
        headers = {"accept": "application/json, application/jwk-set+json", "accept-encoding": "identity"}
        async with (
            asyncio.timeout(self._timing.timeout),
            self._client.stream("GET", address, headers=headers, follow_redirects=False) as response,
        ):
            if response.status_code != 200:
                raise DocumentRefusedError(f"the answer has status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise DocumentRefusedError("the answer is compressed")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise DocumentRefusedError("the answer is larger than 64 KiB")
        try:
            return parse_object(bytes(body))
        except StrictError as error:
            raise DocumentRefusedError(f"the answer cannot be read: {error}") from error


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
