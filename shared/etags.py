"""Optimistic locking over HTTP (RFC 9110 §13): ``ETag`` is the version in quotes, ``If-Match`` the expected one."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Header

from shared.errors import Invalid
from shared.idempotency import Answer


async def _expected(if_match: Annotated[str | None, Header(max_length=200)] = None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip()
    if len(text) < 3 or text[0] != '"' or text[-1] != '"' or not text[1:-1].isascii() or not text[1:-1].isdigit():
        raise Invalid.field("If-Match", "bad_etag", 'send the ETag as you got it, like "3", or leave the header out')
    return int(text[1:-1])


ExpectedVersion = Annotated[int | None, Depends(_expected)]
"""The version that the caller read, or None if they did not say."""


def unless_known(reply: Answer, if_none_match: str | None) -> Answer:
    """Return an answer with an ``ETag`` over all of it, or 304 if the caller knows it.

    For what has no version, because it is made of several things.
    """
    tag = f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'
    headers = {**reply.headers, "etag": tag, "cache-control": "private, no-cache"}
    if if_none_match is not None and tag in if_none_match:
        return Answer(304, headers, b"")
    return Answer(reply.status, headers, reply.body)
