"""How far an erasure is: pure functions of what was kept of it and of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shared.contracts.forgetting import BY_SERVICE

TENANT = "tenant"
SERVICES = (TENANT, *BY_SERVICE)
"""Whoever keeps something of people, and so has to forget them. The gateway has no database."""

ErasureStatus = Literal["under_way", "forgotten", "complete"]
BackendStatus = Literal["waiting", "gone", "kept", "not_configured"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one service has said of an erasure.

    Attributes:
        forgotten_at: when it forgot last; None while it has not finished.
        events, answers: how many it has blanked.
        keys: of the log: how many data keys it destroyed.
    """

    forgotten_at: datetime | None
    events: int
    answers: int
    keys: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one erasure, beside the tombstone.

    Attributes:
        services: by service, what it has said.
        tenants: slugs of the tenants of which the person was, or whose integrations remembered them.
        file_user: the file service had a user of theirs that was made here.
        account_kept: the identity provider's account was somebody's own before, and stays there.
    """

    services: Mapping[str, Part] = field(default_factory=dict)
    tenants: tuple[str, ...] = ()
    file_user: bool = False
    account_kept: bool = False

    @property
    def own_end(self) -> datetime | None:
        """When this service looked for the person, and for their account, for the last time."""
        return self.services[TENANT].forgotten_at if TENANT in self.services else None

    @property
    def forgotten_at(self) -> datetime | None:
        """When the last service forgot; None while one has not."""
        moments = [self.services[name].forgotten_at for name in SERVICES if name in self.services]
        ends = [moment for moment in moments if moment is not None]
        return max(ends) if len(ends) == len(SERVICES) else None


@dataclass(frozen=True, slots=True)
class Backend:
    """What a system outside the platform still has of the person.

    Attributes:
        tenant: the slug, for what a tenant has there; None for the account.
        status: ``waiting``: not seen to be gone. ``kept``: it was there before, is nobody's here now, and stays.
        seen_at: when it was seen to be so.
        reason: why it waits: the code of what is in the way.
    """

    backend: Literal["authentik", "stalwart", "ocis"]
    tenant: str | None
    status: BackendStatus
    seen_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is still somewhere.

    Attributes:
        until: when it is gone at the latest; None for what does not go by time, and while that is not known yet.
    """

    where: str
    what: str
    until: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """``remains`` holds only what has not gone yet."""

    person: str
    erased_at: datetime
    status: ErasureStatus
    parts: Mapping[str, Part]
    backends: Sequence[Backend]
    remains: Sequence[Remainder]


def status_of(kept: Kept, backends: Sequence[Backend], remains: Sequence[Remainder]) -> ErasureStatus:
    """Judge an erasure: everybody has forgotten, and what is left is left for good reasons and not for a time."""
    if kept.forgotten_at is None or any(backend.status == "waiting" for backend in backends):
        return "under_way"
    return "forgotten" if any(one.until is not None for one in remains) else "complete"


def account_of(kept: Kept, reason: str | None, *, connected: bool) -> Backend:
    """Return how it is with the account; ``reason`` is that of the task that removes it, while there is one."""
    if not connected:
        return Backend("authentik", None, "not_configured")
    if kept.own_end is None:
        return Backend("authentik", None, "waiting", reason=reason or "not_tried_yet")
    return Backend("authentik", None, "kept" if kept.account_kept else "gone", kept.own_end)
