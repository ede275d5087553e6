"""Optimistic locking over HTTP (RFC 9110 §13): ``ETag`` is the version in quotes, ``If-Match`` the expected one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header

from shared.errors import Invalid


async def _expected(if_match: Annotated[str | None, Header(max_length=200)] = None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip()
    if len(text) < 3 or text[0] != '"' or text[-1] != '"' or not text[1:-1].isascii() or not text[1:-1].isdigit():
        raise Invalid.field("If-Match", "bad_etag", 'send the ETag as you got it, like "3", or leave the header out')
    return int(text[1:-1])


ExpectedVersion = Annotated[int | None, Depends(_expected)]
"""The version that the caller read, or None if they did not say."""
