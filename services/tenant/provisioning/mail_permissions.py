"""Stalwart's permissions of an account: stopping mail sign-in and sending, and undoing exactly that.

A stopped account keeps ``emailReceive``: without it mail would bounce for good.
"""

from __future__ import annotations

from typing import Any

STOPPED = ("authenticate", "emailSend")
INHERIT: dict[str, Any] = {"@type": "Inherit"}


def is_stopped(permissions: dict[str, Any]) -> bool:
    """Tell whether the account can neither sign in nor send."""
    denied = permissions.get("disabledPermissions") or {}
    return all(name in denied for name in STOPPED)


def is_free(permissions: dict[str, Any]) -> bool:
    """Tell whether nothing of ours stops the account."""
    denied = permissions.get("disabledPermissions") or {}
    return not any(name in denied for name in STOPPED)


def stopped(permissions: dict[str, Any]) -> dict[str, Any]:
    """Return the permissions with sign-in and sending denied; what else they say stays."""
    base = {"@type": "Merge", "enabledPermissions": {}} if permissions["@type"] == "Inherit" else permissions
    denied = {**(permissions.get("disabledPermissions") or {}), **dict.fromkeys(STOPPED, True)}
    return {**base, "disabledPermissions": denied}


def freed(permissions: dict[str, Any]) -> dict[str, Any]:
    """Return the permissions without that denial; what then says nothing is inherited again."""
    denied = {n: mark for n, mark in (permissions.get("disabledPermissions") or {}).items() if n not in STOPPED}
    if permissions["@type"] == "Merge" and not denied and not permissions.get("enabledPermissions"):
        return INHERIT
    return {**permissions, "disabledPermissions": denied}
