"""What the route of the report gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.tenant.people.erasure.report.models import SERVICES, BackendStatus, ErasureStatus, Report
from shared.schemas import Timestamp, View


class ServiceView(View):
    """One service's part."""

    service: str
    forgotten_at: Annotated[Timestamp | None, Field(description="null: it has not said so yet.")]
    events: Annotated[int | None, Field(description="Events of its outbox that were blanked.")]
    answers: Annotated[int | None, Field(description="Stored answers that were blanked.")]
    keys: Annotated[int | None, Field(description="The log only: data keys that were destroyed.")]


class BackendView(View):
    """What a system outside the platform has."""

    backend: Literal["authentik", "stalwart", "ocis"]
    tenant_slug: Annotated[str | None, Field(description="null: the account, which is not a tenant's.")]
    status: Annotated[
        BackendStatus,
        Field(description="`waiting`: not seen to be gone. `kept`: it was not made here, and stays."),
    ]
    seen_at: Annotated[Timestamp | None, Field(description="When it was seen to be so.")]
    reason: Annotated[str | None, Field(description="What it waits for.")]


class RemainderView(View):
    """What is still somewhere."""

    where: str
    what: str
    until: Annotated[
        Timestamp | None,
        Field(description="null: it does not go by time, or, while the erasure is under way, that is not known yet."),
    ]
    why: str


class ErasureView(View):
    """How far the erasure of one person is."""

    id: str
    erased_at: Timestamp
    status: ErasureStatus
    services: list[ServiceView]
    backends: list[BackendView]
    remains: list[RemainderView]


def erasure_view(report: Report) -> ErasureView:
    """Return a report, with a row for every service whether it has answered or not."""
    parts = [(name, report.parts.get(name)) for name in SERVICES]
    return ErasureView(
        id=report.person,
        erased_at=report.erased_at,
        status=report.status,
        services=[
            ServiceView(
                service=name,
                forgotten_at=part and part.forgotten_at,
                events=part and part.events,
                answers=part and part.answers,
                keys=part and part.keys,
            )
            for name, part in parts
        ],
        backends=[
            BackendView(
                backend=one.backend,
                tenant_slug=one.tenant,
                status=one.status,
                seen_at=one.seen_at,
                reason=one.reason,
            )
            for one in report.backends
        ],
        remains=[RemainderView(where=one.where, what=one.what, until=one.until, why=one.why) for one in report.remains],
    )
