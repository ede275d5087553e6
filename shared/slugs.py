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
# What a hurried reader takes for one another. Pairs are expanded, never joined: «vvv» could be joined in two ways.
_FOLDS = str.maketrans({"0": "o", "1": "l", "i": "l", "m": "rn", "w": "vv"})


def skeleton_of(slug: str) -> str:
    """Return what all slugs that look alike have in common; a skeleton is compared, never shown.

    The method is that of UTS 39 §4 (confusable detection); the folds are those of lower-case ASCII.
    """
    return slug.translate(_FOLDS)


_RESERVED_SKELETONS = {skeleton_of(word): word for word in sorted(RESERVED_SLUGS)}


def parse_slug(text: str, field_name: str = "slug") -> str:
    """Return ``text`` if it is a slug: 3 to 40 of a-z, 0-9 and inner hyphens, and like no reserved word.

    Raises:
        Invalid: it is not; the error names ``field_name``.
    """
    if not _SLUG.fullmatch(text):
        raise Invalid.field(field_name, "bad_slug", "use 3 to 40 of a-z, 0-9 and hyphens, no hyphen at either end")
    if text in RESERVED_SLUGS:
        raise Invalid.field(field_name, "reserved_slug", f"{text!r} is reserved: choose another")
    if (word := _RESERVED_SKELETONS.get(skeleton_of(text))) is not None:
        raise Invalid.field(field_name, "reserved_slug", f"{text!r} looks like {word!r}, which is reserved")
    if text[2:4] == "--":  # RFC 5891 §4.2.3.1: xn-- and whatever comes after it
        raise Invalid.field(field_name, "bad_slug", "must not look like an encoded name: no hyphens third and fourth")
    return text
