"""The first operator: made once, and never touched again.

Their record at Authentik says how far their making came: `attributes.dezky.bootstrap` is `begun` until they have their
credential and their group, then `done`. Somebody who is there without that mark was made by others, and whoever
was let in once and put out since stays out.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from infrastructure.bootstrap.authentik.api import Authentik
from infrastructure.bootstrap.reports import ByHand, Outcome, Report
from infrastructure.bootstrap.settings import BootstrapSettings

BEGUN, DONE = "begun", "done"
_LINK_LASTS = "days=7"


class FirstOperator:
    """Makes sure that somebody can operate; `group` is the id of the operators' group."""

    def __init__(self, authentik: Authentik, settings: BootstrapSettings, group: str) -> None:
        self._authentik = authentik
        self._settings = settings
        self._group = group

    async def settle(self) -> AsyncIterator[Report]:
        """Make the operator of the settings unless there is one, and report it."""
        email = self._settings.operator_email
        if not email:
            yield Report("first operator (BOOTSTRAP_OPERATOR_EMAIL is not set)", Outcome.SKIPPED)
            return
        found = await self._authentik.one("core/users/", username=email)
        if found is None or _mark(found) != BEGUN:
            operated = await self._somebody_operates()
            if found is not None and not operated:
                raise ByHand(
                    f"{email} is at Authentik, but nobody who is active is in the operators' group",
                    "Put somebody into dezky-platform-admins there",
                )
            if operated:
                yield Report("there is an operator", Outcome.OK)
                return
        if found is None:
            found = await self._make(email)
            yield Report(f"operator {email}", Outcome.MADE)
        yield Report(await self._give_credential(int(found["pk"])), Outcome.MADE)
        await self._authentik.call("POST", f"core/groups/{self._group}/add_user/", {"pk": found["pk"]})
        yield Report(f"operator {email} may operate", Outcome.MADE)
        attributes = _marked(found, DONE)
        await self._authentik.call("PATCH", f"core/users/{found['pk']}/", {"attributes": attributes})
        yield Report(f"operator {email} is left alone from now on", Outcome.MADE)

    async def _somebody_operates(self) -> bool:
        group = await self._authentik.find(f"core/groups/{self._group}/")
        return any(user["is_active"] for user in (group or {}).get("users_obj") or [])

    async def _make(self, email: str) -> dict[str, Any]:
        body = {
            "username": email,
            "email": email,
            "name": self._settings.operator_name or email,
            "type": "internal",
            "is_active": True,
            "attributes": _marked({}, BEGUN),
        }
        made: dict[str, Any] = await self._authentik.call("POST", "core/users/", body)
        return made

    async def _give_credential(self, pk: int) -> str:
        """Set the password, or write a link by which they choose one; says which, never what."""
        password = self._settings.operator_password.get_secret_value()
        if password:
            await self._authentik.call("POST", f"core/users/{pk}/set_password/", {"password": password})
            return "password of the first operator"
        brand = next((row for row in await self._authentik.rows("core/brands/") if row["default"]), {})
        if not brand.get("flow_recovery"):
            raise ByHand(
                "The default brand of Authentik has no recovery flow, so the first operator gets no link",
                "Set BOOTSTRAP_OPERATOR_PASSWORD, or give that brand a recovery flow",
            )
        path = f"core/users/{pk}/recovery/"
        answer = await self._authentik.call("POST", path, {"token_duration": _LINK_LASTS})
        _write_private(Path(self._settings.operator_link_file), f"{answer['link']}\n")
        return f"recovery link of the first operator, in {self._settings.operator_link_file}"


def _mark(user: dict[str, Any]) -> str | None:
    ours = user.get("attributes", {}).get("dezky")
    return ours.get("bootstrap") if isinstance(ours, dict) else None


def _marked(user: dict[str, Any], mark: str) -> dict[str, Any]:
    """The user's attributes with the mark; Authentik replaces them whole."""
    attributes: dict[str, Any] = user.get("attributes", {})
    ours = attributes.get("dezky")
    return attributes | {"dezky": (ours if isinstance(ours, dict) else {}) | {"bootstrap": mark}}


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 whole, in the place of what was there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as refused:
        remedy = "Set BOOTSTRAP_OPERATOR_LINK_FILE to a file in a folder that this job may write"
        raise ByHand(f"{path} cannot be written: {refused.strerror}", remedy) from refused
