"""Domain names in their ASCII (A-label) form."""

from __future__ import annotations

import idna

from shared.errors import Invalid


def parse_domain(text: str, field_name: str) -> str:
    """Return a domain in its ASCII form (IDNA 2008, RFC 5891), in lower case.

    Raises:
        Invalid: no registrable-looking domain: one label, a trailing dot, an address, or not IDNA.
    """
    try:
        name = idna.encode(text, uts46=True, std3_rules=True).decode()
    except idna.IDNAError as error:
        raise Invalid.field(field_name, "bad_domain", f"is no domain name: {error}") from error
    labels = name.split(".")
    if text.endswith(".") or len(labels) < 2 or labels[-1].isdigit():
        raise Invalid.field(field_name, "bad_domain", "write a domain like acme.example, without a dot at its end")
    return name
