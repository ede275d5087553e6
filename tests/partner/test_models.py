"""A contract's margins, without a database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.partner.models import MAX_MARGINS, MarginChange, Partner, PartnerChange, new_contract
from shared.contracts.partner import ContactState, MarginState
from shared.errors import Invalid

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def nordic(*margins: tuple[str, int], starts_on: str = "2026-01-01") -> Partner:
    given = [MarginState(since=since, margin_bps=bps) for since, bps in (margins or ((starts_on, 2_000),))]
    return Partner(
        id="p1",
        slug="nordic",
        name="Nordic",
        contract=new_contract(starts_on, 24, given),
        status="active",
        created_at=NOW,
        updated_at=NOW,
        contact=ContactState(name="Nora", email="nora@nordic.example"),
    )


def margins_of(partner: Partner) -> list[tuple[str, int]]:
    return [(margin.since, margin.margin_bps) for margin in partner.contract.margins]


def with_margins(partner: Partner, *changes: tuple[str, int | None]) -> Partner:
    return partner.change(PartnerChange(margins=tuple(MarginChange(*change) for change in changes)), NOW)


def test_margins_are_kept_by_date_however_they_are_given() -> None:
    made = nordic(("2027-01-01", 3), ("2026-01-01", 1), ("2026-06-01", 2))
    assert margins_of(made) == [("2026-01-01", 1), ("2026-06-01", 2), ("2027-01-01", 3)]
    assert margins_of(with_margins(made, ("2026-12-01", 4))) == [
        ("2026-01-01", 1),
        ("2026-06-01", 2),
        ("2026-12-01", 4),
        ("2027-01-01", 3),
    ]


def test_what_was_read_may_be_sent_back_with_a_change_to_come() -> None:
    made = nordic()
    assert with_margins(made, ("2026-01-01", 2_000)) is made
    assert margins_of(with_margins(made, ("2026-01-01", 2_000), ("2026-11-22", 2_500)))[1:] == [("2026-11-22", 2_500)]


@pytest.mark.parametrize("bps", [2_001, None])
def test_a_margin_of_the_past_is_neither_changed_nor_taken_back(bps: int | None) -> None:
    made = nordic(("2026-01-01", 2_000), ("2026-11-21", 2_000))
    with pytest.raises(Invalid) as refused:
        with_margins(made, ("2026-12-01", 1), ("2026-11-21", bps))
    assert [(e.field, e.code) for e in refused.value.errors] == [("contract.margins.1.since", "in_the_past")]


def test_no_margin_begins_before_the_contract_and_its_first_stays() -> None:
    made = nordic(starts_on="2027-01-01")
    with pytest.raises(Invalid) as early:
        with_margins(made, ("2026-12-31", 1))
    assert early.value.errors[0].code == "before_contract"
    with pytest.raises(Invalid) as none:
        with_margins(made, ("2027-01-01", None))
    assert (none.value.errors[0].field, none.value.errors[0].code) == (
        "contract.margins.0.marginBps",
        "no_first_margin",
    )
    assert margins_of(with_margins(made, ("2027-01-01", 1))) == [("2027-01-01", 1)]


def test_taking_back_what_was_never_said_changes_nothing() -> None:
    made = nordic()
    assert with_margins(made, ("2026-12-01", None)) is made


def test_a_contract_grows_to_a_limit() -> None:
    full = nordic(("2026-01-01", 1), *((f"{2030 + n // 12}-{n % 12 + 1:02}-01", 1) for n in range(MAX_MARGINS - 1)))
    with pytest.raises(Invalid, match="at most 120"):
        with_margins(full, ("2199-01-01", 1))
    assert len(with_margins(full, ("2030-01-01", None), ("2199-01-01", 1)).contract.margins) == MAX_MARGINS


def test_a_change_counts_one_version_and_moves_the_time() -> None:
    later = datetime(2026, 11, 23, tzinfo=UTC)
    changed = nordic().change(PartnerChange(name="Group", contact={"name": None}), later)
    assert (changed.version, changed.updated_at, changed.created_at) == (2, later, NOW)
    assert changed.contact == ContactState(email="nora@nordic.example")
