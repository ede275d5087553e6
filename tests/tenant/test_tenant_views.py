"""What a tenant's reader gets is what the published schema says."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from services.tenant.models import Tenant
from services.tenant.provisioning.models import Condition
from services.tenant.records import Seen
from services.tenant.schemas import TenantSummary, TenantView, full_view, view_of
from shared.contracts.tenant import BillingContact, DomainState
from shared.testing import operator, tenant_person

pytestmark = pytest.mark.unit


def _seen() -> Seen:
    since = datetime(2026, 11, 22, 12, 0, 2, tzinfo=UTC)
    return Seen(_tenant(), {"ocis": Condition("ready", "Proven", "", since, 3)})


def _tenant() -> Tenant:
    return Tenant(
        id="0198c0de-0000-7000-8000-0000000000aa",
        slug="acme",
        name="Acme Ltd",
        plan="business",
        cycle="month",
        currency="EUR",
        seats=25,
        partner="nordic",
        status="suspended",
        created_at=datetime(2026, 11, 22, 12, 0, 0, 120_000, tzinfo=UTC),
        updated_at=datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC),
        version=3,
        domains=(DomainState(name="acme.example", primary=True), DomainState(name="acme.test", primary=False)),
        billing=BillingContact(contact="billing@acme.example", company="Acme Ltd"),
        suspended_reason="unpaid",
    )


def test_a_tenant_is_rendered_byte_by_byte_as_its_schema_renders_it() -> None:
    shown = view_of(_seen(), operator())
    assert orjson.dumps(shown) == TenantView.model_validate(shown).model_dump_json(by_alias=True).encode()
    assert shown.keys() == {field.alias for field in TenantView.model_fields.values()}


def test_a_plain_member_is_shown_the_summary_only() -> None:
    shown = view_of(_seen(), tenant_person("acme", "member"))
    assert orjson.dumps(shown) == TenantSummary.model_validate(shown).model_dump_json(by_alias=True).encode()
    assert shown == {"slug": "acme", "name": "Acme Ltd", "plan": "business", "status": "suspended"}


def test_times_have_three_decimals_and_members_are_in_camel_case() -> None:
    shown = full_view(_seen())
    assert (shown["createdAt"], shown["updatedAt"]) == ("2026-11-22T12:00:00.120Z", "2026-11-22T12:00:01.000Z")
    assert shown["suspendedReason"] == "unpaid"
