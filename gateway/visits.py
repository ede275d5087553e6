"""A browser's visit to the gateway's own pages under ``/auth``, and the answer to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from gateway.exchange import Receive
from gateway.headers import Fields
from gateway.problems import BadRequest, ContentTooLarge, Headers, Refusal, RequestTimeout

MAX_FORM_BYTES = 16 * 1024
_MAX_FIELDS = 32


class WrongMethod(Refusal):
    """405; ``allow`` names the methods that there are (RFC 9110 §15.5.6)."""

    status, title, default_code = 405, "This method is not for this route", "method_not_allowed"

    def __init__(self, *allow: str) -> None:
        super().__init__()
        self._allow = ", ".join(allow)

    def headers(self) -> Headers:
        return [(b"allow", self._allow.encode())]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in full. What concerns a session is never kept by anybody on the way."""

    status: int
    headers: Headers
    body: bytes = b""

    @classmethod
    def redirect(cls, target: str, *set_cookies: bytes) -> Answer:
        """See another page with GET (303). The address of this one, which may hold a code, is told to nobody."""
        headers = [(b"location", target.encode("ascii")), (b"referrer-policy", b"no-referrer")]
        return cls(303, [*headers, *_common(set_cookies)])

    @classmethod
    def json(cls, document: dict[str, Any], *set_cookies: bytes) -> Answer:
        """A JSON document (200)."""
        return cls(200, [(b"content-type", b"application/json"), *_common(set_cookies)], orjson.dumps(document))

    @classmethod
    def empty(cls) -> Answer:
        """Done, and nothing to say (200, as OpenID Connect Back-Channel Logout 1.0 §2.8 wants it)."""
        return cls(200, _common(()))

    @classmethod
    def refusal(cls, refusal: Refusal, request_id: str, *set_cookies: bytes) -> Answer:
        """A refusal that also sets cookies."""
        headers, body = refusal.render(request_id)
        return cls(refusal.status, [*headers, *((b"set-cookie", cookie) for cookie in set_cookies)], body)


def _common(set_cookies: tuple[bytes, ...]) -> Headers:
    return [(b"cache-control", b"no-store"), *((b"set-cookie", cookie) for cookie in set_cookies)]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request to one of the pages."""

    method: str
    path: str
    query: bytes
    headers: Fields
    address: str
    request_id: str
    receive: Receive

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters.

        Raises:
            BadRequest: one is there twice (RFC 6749 §3.1), or the query cannot be read.
        """
        return _fields(self.query)

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of a header field."""
        return [value.strip() for known, value in self.headers if known == name]

    async def form(self) -> dict[str, str]:
        """Return the fields of an urlencoded body of at most 16 KiB.

        Raises:
            BadRequest, ContentTooLarge
        """
        if self.values(b"content-type")[:1] != [b"application/x-www-form-urlencoded"]:
            raise BadRequest("send application/x-www-form-urlencoded")
        body = b""
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise RequestTimeout
            body += message["body"]
            more = message["more_body"]
            if len(body) > MAX_FORM_BYTES:
                raise ContentTooLarge("the body of this request may have 16384 bytes")
        return _fields(body)


def _fields(encoded: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadRequest("the parameters cannot be read") from None
    if len(dict(pairs)) != len(pairs):
        raise BadRequest("a parameter is there twice")
    return dict(pairs)


Page = Callable[[Visit], Awaitable[Answer]]


class Pages(Protocol):
    """What answers under ``/auth``."""

    def find(self, path: str) -> tuple[str, Page] | None:
        """Return the page at ``path`` and its name in logs and metrics, or None."""
        ...
