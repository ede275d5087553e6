"""Cursor paging: a cursor carries the last sort key and is bound to the query that it came from."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
from fastapi import Query

from shared.errors import Invalid

T = TypeVar("T")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page.")]
CursorParam = Annotated[str | None, Query(max_length=2_000, description="`next` of the page before.")]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in order, and the cursor of the page after, or None on the last."""

    items: Sequence[T]
    next: str | None = None


def fingerprint(query: Mapping[str, Any]) -> str:
    """Return a short digest of a query's filters, so that a cursor cannot be used with others."""
    canonical = orjson.dumps(dict(query), option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(canonical).hexdigest()[:16]


def encode_cursor(key: Sequence[Any], query: Mapping[str, Any]) -> str:
    """Return the cursor of the item whose sort key is ``key`` (JSON values only)."""
    raw = orjson.dumps({"k": list(key), "q": fingerprint(query)})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, query: Mapping[str, Any], shape: Sequence[type]) -> list[Any] | None:
    """Return the sort key inside ``cursor``, or None for no cursor. ``shape`` gives the types of its parts.

    Raises:
        Invalid: the cursor is broken, or belongs to a query with other filters.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        document = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        key, belongs = document["k"], document["q"]
        fits = (
            type(key) is list and len(key) == len(shape) and all(type(k) is t for k, t in zip(key, shape, strict=True))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _bad("this is no cursor: repeat the list without it") from error
    if not fits:
        raise _bad("this is no cursor of this list: repeat the list without it")
    if belongs != fingerprint(query):
        raise _bad("this cursor belongs to a list with other filters: repeat the list without it")
    return list(key)


def _bad(message: str) -> Invalid:
    return Invalid.field("cursor", "bad_cursor", message)


def link_to(url: str, cursor: str | None) -> dict[str, str]:
    """Return the RFC 8288 ``Link`` header to the next page of ``url``, or nothing on the last."""
    if cursor is None:
        return {}
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "cursor"]
    target = urlunsplit(("", "", parts.path, urlencode([*query, ("cursor", cursor)]), ""))
    return {"link": f'<{target}>; rel="next"'}
