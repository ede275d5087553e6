"""Temporary passwords: made once, shown once, kept nowhere."""

from __future__ import annotations

import secrets
import string

LENGTH = 16
_MISTAKEN = "IO01l"
"""What a reader takes for something else."""


def _without_mistaken(letters: str) -> str:
    return "".join(letter for letter in letters if letter not in _MISTAKEN)


CLASSES = (
    _without_mistaken(string.ascii_uppercase),
    _without_mistaken(string.ascii_lowercase),
    _without_mistaken(string.digits),
    "!#%+-=?@_",
)


def temporary_password() -> str:
    """Return 16 characters of the system's generator, at least one of each class, in random order (about 95 bits)."""
    alphabet = "".join(CLASSES)
    letters = [secrets.choice(letters) for letters in CLASSES]
    letters += [secrets.choice(alphabet) for _ in range(LENGTH - len(letters))]
    secrets.SystemRandom().shuffle(letters)
    return "".join(letters)
