"""Search by the beginnings of words."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[^\W_]+")


def words_of(*texts: str) -> list[str]:
    """Return the folded words of ``texts``: what a search by prefix looks in."""
    return sorted({word for text in texts for word in _WORDS.findall(text.casefold())})
