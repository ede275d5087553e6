"""The one HTTP client for outbound calls: a deadline on the whole call, no redirects, no proxy from the environment."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from functools import cache
from typing import Any

import httpx

from shared.errors import Unavailable

MAX_ANSWER = 4 * 1024 * 1024


@cache
def trust() -> ssl.SSLContext:
    """Return whom this process trusts on TLS: certifi's roots, loaded once, because a load takes 20 ms of CPU."""
    return httpx.create_ssl_context(trust_env=False)


class RemoteUnavailable(Unavailable):
    """The other side did not answer in time, or not at all; the effect of the call is unknown."""

    code, title = "remote_unavailable", "Another system is away"


class AnswerTooLarge(RemoteUnavailable):
    code = "remote_answer_too_large"


class HttpClient:
    """Calls one base URL, which comes from configuration.

    ``deadline`` bounds the whole call: connecting, sending, waiting and reading. httpx's own timeouts bound single
    waits, so that a peer which sends one byte at a time could hold a caller for ever.
    """

    def __init__(
        self,
        base_url: str,
        *,
        deadline: timedelta,
        headers: dict[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self._max_answer = max_answer
        self._deadline = deadline.total_seconds()
        self._name = httpx.URL(base_url).host
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(self._deadline),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
            follow_redirects=False,
            trust_env=False,
            verify=trust(),
            transport=transport,
        )

    async def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Return the answer, whatever its status.

        Raises:
            RemoteUnavailable: no complete answer within the deadline.
        """
        try:
            async with asyncio.timeout(self._deadline), self._client.stream(method, path, **kwargs) as reply:
                body = bytearray()
                async for chunk in reply.aiter_bytes():
                    body += chunk
                    if len(body) > self._max_answer:
                        raise AnswerTooLarge(f"{self._name} answered with more than {self._max_answer} bytes")
                return httpx.Response(
                    reply.status_code,
                    headers=_decoded(reply.headers),
                    content=bytes(body),
                    request=reply.request,
                )
        except (httpx.TransportError, TimeoutError) as error:
            raise RemoteUnavailable(f"{self._name} did not answer: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._client.aclose()


def _decoded(headers: httpx.Headers) -> httpx.Headers:
    """Drop what described the bytes on the wire: the body is decoded already."""
    kept = headers.copy()
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        if name in kept:
            del kept[name]
    return kept
