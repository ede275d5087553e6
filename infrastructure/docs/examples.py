"""An example of every event: what a small world of its own would publish. Kept as data, checked by the contracts.

A new event type needs a row in ``_all_told``; without one the documents are not made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from infrastructure.docs import example_states as world
from shared.contracts import (
    Actor,
    CloudEvent,
    Event,
    Resource,
    access,
    audit,
    billing,
    flag,
    forgetting,
    gateway,
    partner,
    session,
    tenant,
    user,
)
from shared.contracts.envelope import PersonResource, changes_of
from shared.topology import owner_of

_UNTIL = "2027-02-01T00:00:00.000Z"
_AT = "2026-11-23T09:30:00.000Z"
_OPERATOR = Actor(
    type="user", id=world.OPERATOR_ID, email="operator@dezky.example", ip="203.0.113.7", surface="operator"
)
_OWNER = Actor(type="user", id=world.OWNER_ID, email="nina@nordic.example", ip="203.0.113.9", surface="portal")
_ACME = Resource(type="tenant", id="acme", name="Acme Ltd", tenant_slug="acme", partner_slug="nordic")
_NORDIC = Resource(type="partner", id="nordic", name="Nordic Cloud", partner_slug="nordic")
_JANE = PersonResource(type="user", id=world.PERSON_ID, name="Jane Doe", tenant_slug="acme", partner_slug="nordic")
_PRICE = Resource(type="price", id=world.PRICE_ID, name="business per month")
_SUBSCRIPTION = Resource(
    type="subscription", id=world.SUBSCRIPTION_ID, name="acme", tenant_slug="acme", partner_slug="nordic"
)
_FLAG = Resource(type="flag", id="oci_versioning", name="oci_versioning")
_TRANSFER = Resource(type="transfer", id=world.TRANSFER_ID, name="acme", partner_slug="alpine")
_REPORT = Resource(type="report", id=world.REPORT_ID, partner_slug="nordic")
_SESSION = Resource(type="session", id=world.SESSION_ID, tenant_slug="acme")


@dataclass(frozen=True, slots=True)
class _Told:
    """What an example says: who, of what, the states before and after, and the event's own fields."""

    resource: Resource
    after: Any = None
    before: Any = None
    actor: Actor | None = _OPERATOR
    more: Mapping[str, Any] = field(default_factory=dict)


def example_of(contract: type[Event]) -> dict[str, Any]:
    """Return an example of an event as it is on the wire.

    Raises:
        LookupError: there is none, with what to do.
    """
    told = _all_told().get(contract)
    if told is None:
        raise LookupError(f"{contract.type} has no example: add one to _all_told in infrastructure/docs/examples.py")
    publisher = owner_of(contract.type) or ""
    members: dict[str, Any] = {"resource": told.resource, **told.more}
    members["actor"] = told.actor or Actor(type="system", id=publisher)
    if told.after is not None:
        members["state"] = told.after
        members["version"] = getattr(told.after, "version", None)
        if "changes" in contract.model_fields and "changes" not in members:
            members["changes"] = changes_of(_changes_of(contract), told.before, told.after)
    event = contract(**members)
    envelope = CloudEvent(
        id="0198c0de-7a11-7000-8000-000000000e7e",
        source=publisher,
        type=contract.type,
        subject=event.subject,
        time=world.moment(_AT),
        sourceseq=0 if publisher == "gateway" else 1_204,
        requestid="0198c0de-7a11-7000-8000-00000000beef" if told.actor and told.actor.type != "system" else None,
        data={},
    )
    data = _without_unchanged(event.model_dump(mode="json", by_alias=True))
    return {**envelope.model_dump(mode="json", exclude_none=True), "data": data}


def _changes_of(contract: type[Event]) -> Any:
    return contract.model_fields["changes"].annotation


def _without_unchanged(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out of ``changes`` what did not change, as the outbox does."""
    if "changes" in data:
        data["changes"] = {name: change for name, change in data["changes"].items() if change is not None}
    return data


@cache
def _all_told() -> dict[type[Event], _Told]:
    return {
        **_refusals(),
        **_archives(),
        **_catalog(),
        **_flags(),
        **_gateway(),
        **_partners(),
        **_tenants(),
        **_people(),
        **_forgetting(),
    }


def _refusals() -> dict[type[Event], _Told]:
    asked = Resource(type="operation", id="/api/tenants/{slug}/suspend", name="acme", tenant_slug="acme")
    said = {"operation": "POST /api/tenants/{slug}/suspend", "code": "operator_token_required", "outcome": "denied"}
    return {denied: _Told(asked, actor=_OWNER, more=said) for denied in access.BY_SERVICE.values()}


def _forgetting() -> dict[type[Event], _Told]:
    gone = PersonResource(type="user", id=world.PERSON_ID)
    actor = Actor(type="system", id="forgetting")
    counts = {"events": 3, "answers": 1}
    told: dict[type[Event], _Told] = {
        answer: _Told(gone, actor=actor, more=counts) for answer in forgetting.BY_SERVICE.values()
    }
    return told | {forgetting.AuditPersonForgotten: _Told(gone, actor=actor, more={**counts, "keys": 2})}


def _archives() -> dict[type[Event], _Told]:
    batch = audit.Batch(
        start_seq=1,
        end_seq=50_000,
        event_count=50_000,
        manifest_sha256="6f1ed002ab5595859014ebf0951522d9a6a0a4b39ec6f4e1a3d0a3f0b1e7c9d2",
        jsonl_key=f"batches/0000000000000001-{'b5bb9d80' * 8}.jsonl.gz",
        manifest_key="manifests/0000000000000001-0.json",
        archived_at=world.moment(_AT),
    )
    told = Resource(type="archive", id="1", name="1 to 50000")
    until = world.moment("2026-11-30T09:30:00.000Z")
    return {
        audit.ArchiveRequested: _Told(Resource(type="log", id="audit")),
        audit.BatchArchived: _Told(told, actor=Actor(type="system", id="audit-archive"), more={"batch": batch}),
        audit.BatchRestored: _Told(told, more={"batch": batch, "until": until}),
    }


def _catalog() -> dict[type[Event], _Told]:
    price, paid = world.PRICE, world.SUBSCRIPTION
    more_seats = world.later(paid, seats=40, arr=600_000, mrr=50_000)
    paused = world.later(paid, status="paused")
    ended = world.later(paid, status="canceled", arr=0, mrr=0)
    caused = {"caused_by": "0198c0de-7a11-7000-8000-000000000cae"}
    return {
        billing.PriceCreated: _Told(_PRICE, price),
        billing.PriceChanged: _Told(_PRICE, world.later(price, amounts={"EUR": 1_400}), price),
        billing.PriceArchived: _Told(_PRICE, world.later(price, archived=True), price),
        billing.SubscriptionStarted: _Told(_SUBSCRIPTION, paid, None, None, {**caused, "movement": "new"}),
        billing.SubscriptionUpdated: _Told(_SUBSCRIPTION, more_seats, paid, None, {**caused, "movement": "expansion"}),
        billing.SubscriptionPaused: _Told(_SUBSCRIPTION, paused, paid, None, caused),
        billing.SubscriptionResumed: _Told(_SUBSCRIPTION, world.later(paused, status="active"), paused, None, caused),
        billing.SubscriptionCanceled: _Told(_SUBSCRIPTION, ended, paid, None, {**caused, "movement": "churn"}),
    }


def _flags() -> dict[type[Event], _Told]:
    off = world.FLAG
    quarter = world.later(off, state="rollout", pct=25)
    return {
        flag.FlagCreated: _Told(_FLAG, off),
        flag.FlagUpdated: _Told(_FLAG, quarter, off, more={"note": "first quarter of the customers"}),
        flag.FlagKilled: _Told(_FLAG, world.later(quarter, state="off", pct=0), quarter, more={"note": "kill-switch"}),
        flag.FlagDeleted: _Told(_FLAG, world.later(off), off),
    }


def _gateway() -> dict[type[Event], _Told]:
    refused = {
        "outcome": "denied",
        "route": "/api/tenants",
        "code": "invalid_token",
        "count": 17,
        "since": world.moment("2026-11-23T09:29:00.000Z"),
        "until": world.moment("2026-11-23T09:29:58.120Z"),
    }
    unknown = Actor(type="external", id="unknown", ip="198.51.100.23")
    return {
        gateway.RequestsRefused: _Told(Resource(type="route", id="/api/tenants"), actor=unknown, more=refused),
        session.SessionStarted: _Told(_SESSION, world.SESSION),
        session.SessionEnded: _Told(_SESSION, world.SESSION, more={"reason": "signed_out"}),
    }


def _partners() -> dict[type[Event], _Told]:
    active = world.PARTNER
    renamed = world.later(active, name="Nordic Cloud ApS")
    suspended = world.later(active, status="suspended", suspended_reason="under review")
    ending = world.later(active, status="terminating", termination=world.TERMINATION)
    ended = world.later(ending, status="terminated", termination=world.TERMINATED)
    back = world.later(ending, status="active", termination=None)
    return {
        partner.PartnerCreated: _Told(_NORDIC, active),
        partner.PartnerUpdated: _Told(_NORDIC, renamed, active),
        partner.PartnerSuspended: _Told(_NORDIC, suspended, active, more={"reason": "under review"}),
        partner.PartnerResumed: _Told(
            _NORDIC, world.later(suspended, status="active", suspended_reason=None), suspended
        ),
        partner.PartnerTerminationStarted: _Told(_NORDIC, ending, active),
        partner.PartnerTerminationRefused: _Told(_NORDIC, back, ending, None, {"customers": 8}),
        partner.PartnerTerminated: _Told(_NORDIC, ended, ending, None),
        partner.PartnerReportSaved: _Told(_REPORT, world.REPORT, actor=_OWNER),
        partner.PartnerReportRemoved: _Told(_REPORT, world.later(world.REPORT), actor=_OWNER),
    }


def _tenants() -> dict[type[Event], _Told]:
    return {**_life(), **_ownership(), **_provisioning()}


def _life() -> dict[type[Event], _Told]:
    active = world.TENANT
    new = active.model_copy(update={"status": "pending", "version": 1})
    suspended = world.later(active, status="suspended", suspended_reason="unpaid")
    deleting = world.later(active, status="deleting", deletion=world.DELETION)
    erasing = world.later(deleting, deletion=world.ERASING)
    erased = world.later(erasing, status="deleted", deletion=world.ERASED, domains=())
    return {
        tenant.TenantCreated: _Told(_ACME, new, actor=_OWNER),
        tenant.TenantActivated: _Told(_ACME, active, new, None),
        tenant.TenantUpdated: _Told(_ACME, world.later(active, seats=40), active, _OWNER),
        tenant.TenantSuspended: _Told(_ACME, suspended, active, more={"reason": "unpaid"}),
        tenant.TenantResumed: _Told(_ACME, world.later(suspended, status="active", suspended_reason=None), suspended),
        tenant.TenantDeletionRequested: _Told(_ACME, deleting, active),
        tenant.TenantRestored: _Told(_ACME, world.later(deleting, status="active", deletion=None), deleting),
        tenant.TenantErasureStarted: _Told(_ACME, erasing, deleting, None),
        tenant.TenantDeleted: _Told(_ACME, erased, erasing, None, {"certificate_sha256": world.DIGEST}),
        tenant.TenantUsageChanged: _Told(_ACME, world.USAGE, world.USAGE_BEFORE, None),
    }


def _ownership() -> dict[type[Event], _Told]:
    active, opened = world.TENANT, world.TRANSFER
    detached = world.later(
        active, partner=None, detached_until=world.moment("2026-12-23T09:30:00.000Z"), ownership=world.ENDED_OWNERSHIP
    )
    attached = world.later(detached, partner="alpine", detached_until=None, ownership=world.NEXT_OWNERSHIP)
    moved = world.later(active, partner="alpine", ownership=world.NEXT_OWNERSHIP)
    passed = {"from_partner": "nordic", "to_partner": "alpine", "transfer": world.TRANSFER_ID}
    answered = {"partner": "nordic", "partner_version": 2, "customers": 8}
    closed = world.later(opened, status="accepted", closed_at=world.moment(_AT))
    return {
        tenant.TenantDetached: _Told(_ACME, detached, active),
        tenant.TenantAttached: _Told(_ACME, attached, detached),
        tenant.TenantTransferOpened: _Told(_TRANSFER, opened, actor=_OWNER),
        tenant.TenantTransferClosed: _Told(_TRANSFER, closed, opened),
        tenant.TenantTransferred: _Told(_ACME, moved, active, more=passed),
        tenant.TenantPartnerAnswered: _Told(_NORDIC, actor=None, more=answered),
    }


def _provisioning() -> dict[type[Event], _Told]:
    drift = world.DRIFT
    accepted = {
        "drift": drift,
        "reason": "agreed with the customer",
        "expires_at": world.moment(_UNTIL),
    }
    condition = {"integration": "ocis", "changes": {"status": {"before": "pending", "after": "ready"}}}
    held = Resource(type="provisioning", id="acme", name="ocis", tenant_slug="acme", partner_slug="nordic")
    return {
        tenant.TenantReconcileRequested: _Told(_ACME),
        tenant.TenantProvisioningChanged: _Told(held, world.PROVISIONING, None, None, condition),
        tenant.TenantDriftRepaired: _Told(_ACME, actor=None, more={"drift": (drift,)}),
        tenant.TenantDriftAccepted: _Told(_ACME, more=accepted),
        tenant.TenantDriftAcceptanceEnded: _Told(_ACME, more={"drift": drift}),
    }


def _people() -> dict[type[Event], _Told]:
    invited = world.PERSON
    inviting = invited.model_copy(update={"status": "inviting", "version": 1})
    active = world.later(invited, status="active")
    inactive = world.later(active, status="inactive")
    gone = world.later(inviting, status="withdrawn")
    return {
        user.UserInviteStarted: _Told(_JANE, inviting, actor=_OWNER),
        user.UserInvited: _Told(_JANE, invited, inviting, _OWNER, {"handoff": "temp-password"}),
        user.UserInviteResent: _Told(_JANE, actor=_OWNER, more={"handoff": "recovery-link"}),
        user.UserInviteExpired: _Told(_JANE, world.later(invited, status="expired"), invited, None),
        user.UserInviteWithdrawn: _Told(_JANE, gone, inviting, _OWNER, {"reason": "role_removed"}),
        user.UserRegistered: _Told(_JANE, active, actor=None),
        user.UserUpdated: _Told(_JANE, world.later(active, name="Jane Roe"), active, None),
        user.UserRoleChanged: _Told(_JANE, world.later(active, tenants={"acme": "admin"}), active, _OWNER),
        user.UserDeactivated: _Told(_JANE, inactive, active),
        user.UserReactivated: _Told(_JANE, world.later(inactive, status="active"), inactive),
        user.UserErased: _Told(PersonResource(type="user", id=world.PERSON_ID)),
    }
