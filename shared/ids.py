"""Identifiers: UUIDv7 (RFC 9562), so that ids made later sort later, roughly."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """Return a new UUIDv7 in its canonical 36-character form."""
    return str(uuid_utils.uuid7())
