"""Domain names in their ASCII (A-label) form."""

from __future__ import annotations

from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

from shared.errors import Invalid


def parse_domain(text: str, field_name: str) -> str:
    """Return a domain in its ASCII form (IDNA 2008, RFC 5891), in lower case.

    A top-level domain that the Public Suffix List does not know counts as a suffix, so ``acme.example`` is a domain.

    Raises:
        Invalid: one label, a trailing dot, an address, not IDNA, or a suffix under which anybody registers.
    """
    try:
        name = idna.encode(text, uts46=True, std3_rules=True).decode()
        canonical = all(idna.alabel(idna.ulabel(label)) == label.encode() for label in name.split(".") if label)
    except idna.IDNAError as error:
        raise Invalid.field(field_name, "bad_domain", f"is no domain name: {error}") from error
    labels = name.split(".")
    # Other dots than the ASCII one are dots, too (UTS 46), so it is the result that must not end with one.
    if name.endswith(".") or len(labels) < 2 or labels[-1].isdigit():
        raise Invalid.field(field_name, "bad_domain", "write a domain like acme.example, without a dot at its end")
    if not canonical:
        raise Invalid.field(field_name, "bad_domain", "an xn-- label must encode what it decodes to (RFC 5891 §4.4)")
    if _suffixes().is_public(name):
        raise Invalid.field(field_name, "public_suffix", f"anybody registers names under {name}: give one of them")
    return name


@cache
def _suffixes() -> PublicSuffixList:
    """Read the list that the library ships: ICANN's suffixes, and the private ones (github.io)."""
    return PublicSuffixList()
