"""Pure parts of provisioning: what should be, conditions, mailboxes, permissions of mail."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.tenant.models import Tenant, WrongStatus
from services.tenant.people.models import Human, Identity
from services.tenant.provisioning.mail_permissions import freed, is_free, is_stopped, stopped
from services.tenant.provisioning.models import (
    Condition,
    Desired,
    Finding,
    Mailbox,
    all_ready,
    desired_of,
    mailboxes,
    standing_of,
    untried,
)
from shared.contracts.tenant import DomainState
from shared.contracts.user import PartnerRoleState

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TENANT = Tenant(
    id="t-1",
    slug="acme",
    name="Acme",
    plan="business",
    cycle="month",
    currency="EUR",
    seats=5,
    partner="nordic",
    status="active",
    created_at=NOW,
    updated_at=NOW,
    domains=(DomainState(name="b.example", primary=False), DomainState(name="a.example", primary=True)),
)


def human(name: str, email: str = "", **changes: Any) -> Human:
    known = Human(
        id=name,
        email=email or f"{name}@a.example",
        name=name,
        identities=(Identity("authentik", f"sub-{name}"),),
        created_at=NOW,
        tenants={"acme": "member"},
    )
    return replace(known, **changes)


def desired(*people: Human) -> Desired:
    return desired_of(TENANT, people, {"acme": "active"})


def test_only_people_who_may_act_and_are_known_to_the_provider_are_members() -> None:
    people = [
        human("active"),
        human("invited", status="invited"),
        human("inviting", status="inviting", identities=()),
        human("inactive", status="inactive"),
    ]
    assert [member.human.id for member in desired(*people).members] == ["active", "invited"]


def test_being_seen_changes_nothing_that_is_desired() -> None:
    assert desired(human("a")) == desired(human("a", last_seen=NOW))
    assert desired(human("a")) != desired(human("a", email="other@a.example"))


@pytest.mark.parametrize(
    ("changes", "statuses", "suite", "enabled"),
    [
        ({}, {"acme": "active"}, True, True),
        ({}, {"acme": "pending"}, True, True),
        ({}, {"acme": "suspended"}, False, False),
        ({"tenants": {"acme": "admin"}}, {"acme": "suspended"}, False, True),
        ({"tenants": {"acme": "member", "b": "member"}}, {"acme": "suspended", "b": "active"}, True, True),
        ({"tenants": {"acme": "member", "b": "member"}}, {"acme": "suspended", "b": "suspended"}, False, False),
        ({"platform_admin": True}, {"acme": "suspended"}, False, True),
        ({"partner": PartnerRoleState(slug="nordic", role="staff")}, {"acme": "suspended"}, False, True),
        ({"status": "inactive"}, {"acme": "active"}, False, False),
        ({}, {"acme": "deleting"}, False, False),
    ],
)
def test_what_a_person_is_entitled_to_follows_all_their_places(
    changes: dict[str, Any], statuses: dict[str, Any], suite: bool, enabled: bool
) -> None:
    standing = standing_of(human("a", **changes), statuses)
    assert (standing.suite, standing.enabled) == (suite, enabled)


def test_an_observation_of_an_older_version_proves_nothing() -> None:
    seen = Condition("ready", "Provisioned", "", NOW, 3)
    assert seen.for_generation(3) is seen
    assert seen.for_generation(4).status == "pending"
    assert all_ready([seen], 3)
    assert not all_ready([seen], 4)
    failed = Condition("failed", "NameTaken", "", NOW, 3)
    assert failed.for_generation(4) is failed


def test_the_time_of_a_condition_is_when_its_status_became_what_it_is() -> None:
    later = NOW + timedelta(hours=1)
    pending = untried(NOW).after(Finding("pending", "Away"), 1, later)
    assert (pending.at, pending.differs(untried(NOW))) == (NOW, False)
    ready = pending.after(Finding("ready", "Provisioned"), 1, later)
    assert (ready.at, ready.differs(pending)) == (later, True)
    proven = ready.after(Finding("ready", "Proven"), 2, later + timedelta(hours=1))
    assert (proven.at, proven.differs(ready)) == (later, True)


def test_only_a_pending_tenant_becomes_active() -> None:
    pending = replace(TENANT, status="pending")
    assert (pending.activate(NOW).status, pending.activate(NOW).version) == ("active", 2)
    assert TENANT.activate(NOW) is TENANT
    with pytest.raises(WrongStatus):
        replace(TENANT, status="suspended").activate(NOW)


def test_a_mailbox_is_the_name_at_the_primary_domain_and_keeps_the_own_address_as_an_alias() -> None:
    boxes, clashes = mailboxes(
        desired(human("jane", "Jane@a.example"), human("bo", "bo@b.example"), human("x", "x@c.example"))
    )
    assert boxes == {"jane": Mailbox("jane", "a.example"), "bo": Mailbox("bo", "a.example", ("bo", "b.example"))}
    assert clashes == []


def test_of_two_with_one_name_the_one_at_the_primary_domain_has_it() -> None:
    boxes, clashes = mailboxes(desired(human("1", "jo@b.example"), human("2", "jo@a.example")))
    assert boxes == {"1": Mailbox("jo", "b.example"), "2": Mailbox("jo", "a.example")}
    assert clashes == []


def test_two_people_of_one_address_do_not_share_a_mailbox() -> None:
    boxes, clashes = mailboxes(desired(human("1", "jo@a.example"), human("2", "JO@a.example")))
    assert (boxes, clashes) == ({"1": Mailbox("jo", "a.example")}, ["2"])


# INTEGRATIONS section 2: how an account is suspended, and how it is restored.
SUSPENDED = {
    "@type": "Merge",
    "enabledPermissions": {},
    "disabledPermissions": {"authenticate": True, "emailSend": True},
}


def test_stopping_denies_sign_in_and_sending_and_nothing_else() -> None:
    assert stopped({"@type": "Inherit"}) == SUSPENDED
    assert freed(SUSPENDED) == {"@type": "Inherit"}


@pytest.mark.parametrize(
    "own",
    [
        {"@type": "Merge", "enabledPermissions": {"impersonate": True}, "disabledPermissions": {"emailReceive": True}},
        {"@type": "Replace", "enabledPermissions": {"authenticate": True}, "disabledPermissions": {}},
    ],
)
def test_permissions_that_somebody_else_gave_survive_a_suspension(own: dict[str, Any]) -> None:
    assert is_stopped(stopped(own))
    assert not is_free(stopped(own))
    assert freed(stopped(own)) == own
