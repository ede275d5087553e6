"""What a fresh install has before anybody adds to it: the first administrator, flows and a brand."""

import json
import sqlite3
from uuid import uuid4

from infrastructure.sandbox.authentik.directory import Directory

ADMINISTRATOR = "akadmin"
ADMINISTRATORS = "authentik Admins"
LOGIN_FLOW = "default-authentication-flow"
# A recovery flow is missing on purpose: the original ships without one, and clients have to cope.
FLOWS = {
    LOGIN_FLOW: ("Welcome to authentik", "Welcome to authentik!", "authentication"),
    "default-invalidation-flow": ("Logout", "Default Invalidation Flow", "invalidation"),
    "default-provider-authorization-implicit-consent": (
        "Authorize Application",
        "Redirecting to %(app)s",
        "authorization",
    ),
    "default-provider-invalidation-flow": (
        "Logged out of application",
        "You've logged out of %(app)s.",
        "invalidation",
    ),
}


def install(store: sqlite3.Connection, directory: Directory) -> None:
    """Adds the defaults; the caller sees to it that this happens once, inside its transaction."""
    pks = {slug: str(uuid4()) for slug in FLOWS}
    for slug, (name, title, designation) in FLOWS.items():
        store.execute("INSERT INTO flows VALUES (?, ?, ?, ?, ?)", (pks[slug], slug, name, title, designation))
    flows = {"flow_authentication": pks[LOGIN_FLOW], "flow_invalidation": pks["default-invalidation-flow"]}
    brand = {"default": True, **flows}
    store.execute("INSERT INTO brands VALUES (?, 'authentik-default', ?)", (str(uuid4()), json.dumps(brand)))
    group = directory.group_named(ADMINISTRATORS) or directory.add_group(ADMINISTRATORS)
    store.execute("UPDATE groups SET is_superuser = 1 WHERE pk = ?", (group,))
    administrator = directory.user_named(ADMINISTRATOR)
    if administrator is None:
        administrator = directory.add_user(ADMINISTRATOR, "authentik Default Admin", "")
    directory.add_membership(administrator, group)
