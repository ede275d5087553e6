"""The pure evaluation, against the published vectors and the published table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.flags import FlagRule, FlagScope, FlagSet, FlagSubject, bucket_of, evaluate

pytestmark = pytest.mark.unit
DOCUMENT = Path(__file__).parents[2] / "docs" / "flag-buckets.md"
VECTORS = re.findall(r"^\| `([0-9a-f-]{36})` \| `(\w+)` \| (\d+) \|$", DOCUMENT.read_text(), re.MULTILINE)
ACME = FlagSubject("0198c0de-0000-7000-8000-000000000001", "acme", "business", "nordic", "production")


def test_the_document_has_vectors() -> None:
    assert len(VECTORS) >= 5


@pytest.mark.parametrize(("tenant_id", "key", "bucket"), VECTORS)
def test_the_bucket_is_the_published_one(tenant_id: str, key: str, bucket: str) -> None:
    assert bucket_of(tenant_id, key) == int(bucket)


@pytest.mark.parametrize(
    ("state", "scope", "value"),
    [
        ("off", FlagScope(), False),
        ("off", FlagScope(plans=frozenset({"business"})), False),
        ("on", FlagScope(), True),
        ("on", FlagScope(plans=frozenset({"starter"})), True),
        ("targeted", FlagScope(), False),
        ("targeted", FlagScope(plans=frozenset({"business"})), True),
        ("targeted", FlagScope(plans=frozenset({"business"}), tenant_slugs=frozenset({"globex"})), False),
        ("targeted", FlagScope(partner_slugs=frozenset({"nordic"}), environments=frozenset({"production"})), True),
        ("targeted", FlagScope(environments=frozenset({"staging"})), False),
    ],
)
def test_each_state_decides_as_the_table_says(state: str, scope: FlagScope, value: bool) -> None:
    assert evaluate(FlagRule("a_flag", state, 100, scope), ACME).value is value  # type: ignore[arg-type]


def test_a_detached_tenant_is_in_no_partners_scope() -> None:
    detached = FlagSubject(ACME.tenant_id, "acme", "business", None, "production")
    rule = FlagRule("a_flag", "targeted", 0, FlagScope(partner_slugs=frozenset({"nordic"})))
    assert not evaluate(rule, detached).value


def test_a_rollout_outside_its_scope_reaches_nobody_even_at_100() -> None:
    rule = FlagRule("a_flag", "rollout", 100, FlagScope(plans=frozenset({"starter"})))
    assert not evaluate(rule, ACME).value


@given(st.uuids(version=4), st.integers(0, 99))
def test_raising_the_percentage_only_adds_tenants(tenant: object, pct: int) -> None:
    subject = FlagSubject(str(tenant), "x", "p", None, "e")
    less = evaluate(FlagRule("a_flag", "rollout", pct), subject).value
    more = evaluate(FlagRule("a_flag", "rollout", pct + 1), subject).value
    assert more or not less


def test_a_rollout_reaches_its_share() -> None:
    tenants = [FlagSubject(f"0198c0de-0000-7000-8000-{n:012d}", "x", "p", None, "e") for n in range(10_000)]
    reached = sum(evaluate(FlagRule("a_flag", "rollout", 25), tenant).value for tenant in tenants)
    # Binomial(10,000, 0.25): mean 2,500, standard deviation 43.3; six of them either way.
    assert 2_240 < reached < 2_760


def test_a_set_keeps_the_newest_version_whatever_the_order_of_arrival() -> None:
    flags = FlagSet()
    assert flags.put("a_flag", 2, FlagRule("a_flag", "on"))
    assert not flags.put("a_flag", 1, FlagRule("a_flag", "off"))
    assert flags.is_on("a_flag", ACME)
    assert flags.put("a_flag", 3, None)
    assert not flags.is_on("a_flag", ACME)
    assert flags.evaluate_all(ACME) == {}
