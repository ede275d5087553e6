"""Names that stand in paths and in DNS: what is taken, what is refused, and under which code."""

from __future__ import annotations

import pytest

from shared.domains import parse_domain
from shared.errors import Invalid
from shared.slugs import parse_slug, skeleton_of

pytestmark = pytest.mark.unit


def code_of(parse: object, text: str) -> str:
    with pytest.raises(Invalid) as refused:
        parse(text, "name")  # type: ignore[operator]
    (error,) = refused.value.errors
    assert error.field == "name"
    return error.code


@pytest.mark.parametrize("text", ["acme", "a1b", "acme-2", "x" * 40, "0-0", "zero-one"])
def test_a_slug_is_taken_as_it_is(text: str) -> None:
    assert parse_slug(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "ab", "x" * 41, "-acme", "acme-", "Acme", "ac me", "acme\n", "ac_me", "ac.me"),
        *("\u0430cme", "\uff41cme", "acm\u00e9", "acme\u200b", "xn--acme", "ab--acme"),
    ],
)
def test_what_is_no_slug_is_refused(text: str) -> None:
    assert code_of(parse_slug, text) == "bad_slug"


@pytest.mark.parametrize(
    "text",
    [
        *("admin", "www", "dezky", "support", "billing"),
        *("adrnin", "adm1n", "vvvvw", "vwwv", "supp0rt", "bil1ing", "1ogln", "rnetrlcs"),
    ],
)
def test_a_reserved_word_is_refused_however_it_is_drawn(text: str) -> None:
    assert code_of(parse_slug, text) == "reserved_slug"


@pytest.mark.parametrize(
    ("one", "other"),
    [("acme", "acrne"), ("paypal", "paypa1"), ("nordic", "n0rdlc"), ("wave", "vvave"), ("vvv", "vw"), ("illi", "l11l")],
)
def test_slugs_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton_of(one) == skeleton_of(other)


@pytest.mark.parametrize(("one", "other"), [("acme", "acne"), ("a-b", "ab"), ("nordic", "nordik"), ("t-12", "t-13")])
def test_slugs_that_do_not_have_different_ones(one: str, other: str) -> None:
    assert skeleton_of(one) != skeleton_of(other)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Acme.Example", "acme.example"),
        ("acme.co.uk", "acme.co.uk"),
        ("acme.github.io", "acme.github.io"),
        # One umlaut, encoded by hand after RFC 3492 §6.3.
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("mail.acme.example", "mail.acme.example"),
    ],
)
def test_a_domain_is_taken_in_its_ascii_form(text: str, name: str) -> None:
    assert parse_domain(text, "name") == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "example", "acme.example.", "acme.example\u3002", "acme..example", ".acme.example", "192.0.2.1"),
        *("xn--acme-.example", "xn--zzzzzz.example", "xn--a.example", "xn--.example", "ab--cd.example"),
        *("acme .example", "acme.example\n", "ac_me.example", "-acme.example", "a" * 64 + ".example"),
        *(".".join(["a" * 60] * 5) + ".example", "acme.example/x", "acme@acme.example", "\u2603.example"),
    ],
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    assert code_of(parse_domain, text) == "bad_domain"


@pytest.mark.parametrize(
    "text", ["co.uk", "CO.UK", "github.io", "gov.uk", "foo.ck", "\u516c\u53f8.cn", "xn--55qx5d.cn"]
)
def test_a_suffix_under_which_anybody_registers_is_refused(text: str) -> None:
    assert code_of(parse_domain, text) == "public_suffix"
