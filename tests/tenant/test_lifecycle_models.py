"""A tenant's transitions by themselves: what ends when, and what is kept of the past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.tenant.models import RestoreTooLate, Tenant, WrongStatus
from shared.contracts.tenant import OwnershipState
from tests.tenant.desk import THEN

pytestmark = pytest.mark.unit
DAY = timedelta(days=1)


def _tenant(**changes: Any) -> Tenant:
    facts: dict[str, Any] = {
        **{"id": "1", "slug": "acme", "name": "Acme", "plan": "business", "cycle": "month", "currency": "EUR"},
        **{"seats": 5, "partner": "nordic", "status": "active", "created_at": THEN, "updated_at": THEN},
        "ownership": (OwnershipState(partner="nordic", since=THEN),),
    }
    return Tenant(**{**facts, **changes})


def test_erasure_begins_when_the_grace_is_over_and_ends_every_way_back() -> None:
    deleting = _tenant().delete("left", THEN + 30 * DAY, THEN)
    with pytest.raises(WrongStatus):
        deleting.begin_erasure(THEN + 30 * DAY - timedelta(milliseconds=1))
    erasing = deleting.begin_erasure(THEN + 30 * DAY)
    assert erasing.begin_erasure(THEN + 31 * DAY) is erasing
    with pytest.raises(RestoreTooLate):
        erasing.restore(THEN + 30 * DAY)
    deleted = erasing.finish_erasure(THEN + 31 * DAY)
    assert (deleted.status, deleted.domains, deleted.version) == ("deleted", (), 4)
    with pytest.raises(WrongStatus):
        deleted.restore(THEN + 31 * DAY)


def test_nothing_but_what_is_being_erased_becomes_deleted() -> None:
    for tenant in (_tenant(), _tenant().delete(None, THEN, THEN)):
        with pytest.raises(WrongStatus):
            tenant.finish_erasure(THEN + 99 * DAY)


def test_the_history_of_owners_keeps_its_dates() -> None:
    passed = _tenant().transfer("fjord", THEN + DAY)
    waiting = passed.detach(THEN + 9 * DAY, THEN + 2 * DAY)
    back = waiting.attach("nordic", THEN + 3 * DAY)
    assert [(past.partner, past.since, past.until) for past in back.ownership] == [
        ("nordic", THEN, THEN + DAY),
        ("fjord", THEN + DAY, THEN + 2 * DAY),
        ("nordic", THEN + 3 * DAY, None),
    ]
    assert (waiting.detached_until, back.detached_until) == (THEN + 9 * DAY, None)
