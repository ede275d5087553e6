"""What the API takes and gives about drift."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.tenant.provisioning.drift.models import Acceptance, Difference
from services.tenant.provisioning.drift.service import NewAcceptance, SeenDrift
from shared.contracts.envelope import Moment
from shared.contracts.tenant import DriftState, Integration
from shared.schemas import GivenMoment, Input, Text, View


class AcceptDrift(Input):
    """A difference that may stay. ``object`` as ``tenant.drift_repaired.v1`` names it."""

    integration: Integration
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z-]{1,39}$", examples=["space-quota"])]
    object: Annotated[Text, Field(examples=["1284d238-aa92$5c6d!5c6d"])]
    reason: Annotated[Text, Field(examples=["migration until March"])]
    expires_at: Annotated[GivenMoment, Field(examples=["2027-01-31T00:00:00.000Z"])]

    def to_command(self) -> NewAcceptance:
        return NewAcceptance(self.integration, Difference(self.kind, self.object), self.reason, self.expires_at)


class AcceptanceView(View):
    """An accepted difference. ``lastSeenAt``: when a comparison last met it, None before the first."""

    id: str
    integration: Integration
    kind: str
    object: str
    reason: str
    accepted_by: str
    accepted_at: Moment
    expires_at: Moment
    last_seen_at: Moment | None


class DriftList(View):
    """Accepted differences, the oldest first, and those that are left to whoever made them."""

    items: list[AcceptanceView]
    next: str | None
    left: list[DriftState]


def acceptance_view(acceptance: Acceptance) -> AcceptanceView:
    """Return an acceptance as the API shows it."""
    return AcceptanceView(
        id=acceptance.id,
        integration=acceptance.integration,
        kind=acceptance.difference.kind,
        object=acceptance.difference.object,
        reason=acceptance.reason,
        accepted_by=acceptance.by,
        accepted_at=acceptance.created_at,
        expires_at=acceptance.expires_at,
        last_seen_at=acceptance.last_seen,
    )


def drift_list(seen: SeenDrift) -> DriftList:
    """Return a page as the API shows it."""
    items = [acceptance_view(one) for one in seen.acceptances.items]
    return DriftList(items=items, next=seen.acceptances.next, left=list(seen.left))
