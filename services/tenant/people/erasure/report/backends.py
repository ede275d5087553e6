"""What provisioning knows of an erased person's mailboxes and files: pure functions of a tenant's row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.tenant.people.erasure.report.models import Backend
from services.tenant.provisioning.models import ERASED
from services.tenant.provisioning.repository import Row

NOT_COMPARED = "not_compared_yet"
_Suite = Literal["stalwart", "ocis"]
_MAPS: dict[_Suite, str] = {"stalwart": "accounts", "ocis": "users"}


@dataclass(frozen=True, slots=True)
class Gone:
    """Who was erased and when.

    Attributes:
        file_user: their user in the file service was made here, one for all tenants. has_file_user: it is still there.
    """

    person: str
    at: datetime
    file_user: bool
    has_file_user: bool

    def is_ours(self, backend: _Suite, row: Row) -> bool:
        """Whether what a tenant's part remembers was made here, so that it has to go."""
        if backend == "ocis":
            return self.has_file_user
        return self.person in row.memos.get(backend, {}).get("made", {})

    def is_others(self, backend: _Suite, row: Row) -> bool:
        """Whether it was there before, so that it stays."""
        remembered = self.person in (row.memos.get(backend, {}).get(_MAPS[backend]) or {})
        return remembered and not (backend == "ocis" and self.file_user)


def suite_of(row: Row, gone: Gone) -> Iterator[Backend]:
    """Return how it is with a person's mailbox and files in one tenant, as far as it has these integrations.

    What is not remembered counts as gone only when a comparison after the erasure agreed: one that was under way may
    have made something that it had not written down.
    """
    for backend in _MAPS:
        condition = row.conditions.get(backend)
        if condition is None:
            continue
        agreed = row.agreed.get(backend)
        if condition.status == "ready" and condition.reason == ERASED and agreed is None:
            yield Backend(backend, row.slug, "gone", condition.at)  # the tenant itself is no more
        elif agreed is None or agreed.at < gone.at or gone.is_ours(backend, row):
            reason = NOT_COMPARED if condition.status == "ready" else condition.reason
            yield Backend(backend, row.slug, "waiting", reason=reason)
        else:
            yield Backend(backend, row.slug, "kept" if gone.is_others(backend, row) else "gone", agreed.at)
