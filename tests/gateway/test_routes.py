"""The route table: who answers which path."""

from __future__ import annotations

import pytest

from gateway.problems import BadRequest
from gateway.routes import OPERATOR, ROUTES, Route, RouteTable
from gateway.targets import read_path, split_target

pytestmark = pytest.mark.unit
TABLE = RouteTable()


@pytest.mark.parametrize(
    ("path", "service", "pattern"),
    [
        ("/api/tenants", "tenant", "/api/tenants"),
        ("/api/tenants/", "tenant", "/api/tenants"),
        ("/api/tenants/acme", "tenant", "/api/tenants"),
        ("/api/tenants/acme/suspend", "tenant", "/api/tenants"),
        ("/api/tenants/acme/audit", "audit", "/api/tenants/{slug}/audit"),
        ("/api/tenants/acme/audit/17", "audit", "/api/tenants/{slug}/audit"),
        ("/api/tenants/audit", "tenant", "/api/tenants"),
        ("/api/tenants/acme/auditors", "tenant", "/api/tenants"),
        ("/api/tenants/acme/billing/invoices", "billing", "/api/tenants/{slug}/billing"),
        ("/api/partners", "partner", "/api/partners"),
        ("/api/partners/nordic", "partner", "/api/partners"),
        ("/api/partners/nordic/tenants", "tenant", "/api/partners/{slug}/tenants"),
        ("/api/partners/nordic/users", "tenant", "/api/partners/{slug}/users"),
        ("/api/partners/nordic/audit", "audit", "/api/partners/{slug}/audit"),
        ("/api/partners/nordic/billing/payouts", "billing", "/api/partners/{slug}/billing"),
        ("/api/partners/nordic/reports/health", "partner", "/api/partners/{slug}/reports"),
        ("/api/users/1/deactivate", "tenant", "/api/users"),
        ("/api/me", "tenant", "/api/me"),
        ("/api/prices", "billing", "/api/prices"),
        ("/api/billing/payouts", "billing", "/api/billing"),
        ("/api/flags/x/kill", "flags", "/api/flags"),
        ("/api/ofrep/v1/evaluate/flags", "flags", "/api/ofrep"),
        ("/api/audit/verify", "audit", "/api/audit"),
        ("/health", "health", "/health"),
        ("/api/health/platform", "health", "/api/health"),
        ("/webhooks/stripe", "billing", "/webhooks/stripe"),
        ("/webhooks/stalwart", "audit", "/webhooks/stalwart"),
    ],
)
def test_the_longest_pattern_answers(path: str, service: str, pattern: str) -> None:
    route = TABLE.match(path)
    assert route is not None
    assert (route.service, route.pattern) == (service, pattern)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/internal/principals",
        "/api/internal/principals",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/metrics",
        "/api/tenantsx",
        "/tenants",
        "/API/tenants",
        "/healthz",
        "/webhooks",
        "/webhooks/other",
        "/docs",
        "",
    ],
)
def test_what_is_in_no_row_is_answered_by_nobody(path: str) -> None:
    assert TABLE.match(path) is None


def test_public_rows_are_health_and_webhooks_only() -> None:
    assert {route.pattern for route in ROUTES if route.public} == {
        "/health",
        "/webhooks/stripe",
        "/webhooks/stalwart",
    }


def test_operator_only_prefixes_are_those_where_every_operation_is_the_operators() -> None:
    """FEATURES §0: users (all), audit, platform health. Prices and flags are read or evaluated by others, too."""
    assert {r.pattern for r in ROUTES if r.surfaces == OPERATOR} == {"/api/users", "/api/audit", "/api/health"}


def test_a_literal_stands_before_a_placeholder_but_does_not_hide_what_is_below_it() -> None:
    table = RouteTable(
        [
            Route("/p/{slug}", "any"),
            Route("/p/mine", "mine"),
            Route("/p/{slug}/x", "below"),
        ]
    )
    found = [table.match(path) for path in ("/p/mine", "/p/other", "/p/mine/x", "/p/mine/y")]
    assert [route.service for route in found if route] == ["mine", "any", "below", "mine"]


def test_two_rows_for_one_pattern_are_refused() -> None:
    with pytest.raises(ValueError, match="/a"):
        RouteTable([Route("/a", "one"), Route("/a", "two")])


def test_a_placeholder_is_not_empty() -> None:
    assert TABLE.match("/api/tenants//audit") == TABLE.match("/api/tenants")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/api/tenants/", "/api/tenants/"),
        (b"/a.b/..c/...", "/a.b/..c/..."),
        (b"/%C3%A9t%C3%A9", "/\u00e9t\u00e9"),
        (b"/a%20b;x=1,2:@!$&'()*+~", "/a b;x=1,2:@!$&'()*+~"),
        (b"/%2525", "/%25"),
    ],
)
def test_an_unambiguous_path_is_read_once(raw: bytes, path: str) -> None:
    assert read_path(raw) == path


@pytest.mark.parametrize(
    "raw", [b"", b"api", b"/a//b", b"/%2f", b"/%2e%2e", b"/..", b"/a/./b", b"/%5C", b"/%00", b"/\xff", b"/%f", b"/a?b"]
)
def test_an_ambiguous_path_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read_path(raw)


def test_the_absolute_form_means_the_same_as_the_origin_form() -> None:
    """RFC 9112 §3.2.2: a server must accept it."""
    assert split_target(b"http://API.example:80/a?b=c", b"api.example:80") == (b"/a", b"b=c")
    assert split_target(b"https://api.example?b", b"api.example") == (b"/", b"b")
    assert split_target(b"http://api.example", b"api.example") == (b"/", b"")


@pytest.mark.parametrize("target", [b"http://other/a", b"ftp://a/a", b"a:80", b"*", b"", b"http:/a", b"//a"])
def test_another_target_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequest):
        read_path(split_target(target, b"a")[0])
