"""Search by the beginnings of words."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[^\W_]+")

LONGEST_PREFIX = 8
"""Beginnings up to this length are stored one by one; of a longer word its first eight characters find candidates."""


def words_of(*texts: str) -> list[str]:
    """Return the folded words of ``texts``: what a search by prefix looks in."""
    return sorted({word for text in texts for word in _WORDS.findall(text.casefold())})


def prefixes_of(*texts: str) -> list[str]:
    """Return all beginnings of the words of ``texts``, none longer than ``LONGEST_PREFIX``.

    Stored beside the words they turn «begins with» into «is», and only what is equal leaves an index in the order of
    its next key.
    """
    return sorted({word[:end] for word in words_of(*texts) for end in range(1, min(len(word), LONGEST_PREFIX) + 1)})
