"""Slugs: the short names of tenants and partners in paths, and words that none of them may take."""

from __future__ import annotations

import re

from shared.errors import Invalid

RESERVED_SLUGS = frozenset(
    """
    about account admin administrator api app apps assets audit auth authentik billing blog cdn collabora console
    dashboard demo dev dezky docs download email files flags ftp gateway health help imap info internal invoices
    login logout mail me metrics mta-sts new null office ocis ops operator owncloud partner partners payouts portal
    postmaster pricing prices root security signin signup smtp stalwart static status stripe suite support system
    tenant tenants test undefined user users webhook webhooks webmail www
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is no easier to read
)
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,38})[a-z0-9]")


def parse_slug(text: str, field_name: str = "slug") -> str:
    """Return ``text`` if it is a slug: 3 to 40 of a-z, 0-9 and inner hyphens, and no reserved word.

    Raises:
        Invalid: it is not; the error names ``field_name``.
    """
    if not _SLUG.fullmatch(text):
        raise Invalid.field(field_name, "bad_slug", "use 3 to 40 of a-z, 0-9 and hyphens, no hyphen at either end")
    if text in RESERVED_SLUGS:
        raise Invalid.field(field_name, "reserved_slug", f"{text!r} is reserved: choose another")
    if text.startswith("xn--"):
        raise Invalid.field(field_name, "bad_slug", "must not start with xn--: that is an encoded name")
    return text
