"""What the three integrations hold, read over raw HTTP by their administrators, and held against what is expected.

Nothing of the service is asked here, and none of its clients used: a difference is found although the service does
not know of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.tenant.suite import Suite, is_disabled
from tests.torture.lives import Expected

GIB = 1024**3
MANAGER, EDITOR = "312c0871-5ef7-4b3a-85b6-0e4074c64049", "58c63c02-1d89-4572-916a-870abc5a1b7d"
ROLES = {"admin": MANAGER, "member": EDITOR}
STOPPED = {"authenticate", "emailSend"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class People:
    """Everybody who ever was in a tenant, by address.

    Attributes:
        placed: who is in a tenant that is not deleted. open: who is in one that is open, too.
        enabled: whose account has a use: in an open tenant, or as an admin of any. left: who was taken out of a tenant
        before it was deleted or is without any now; they stay known, so what they hold may stay.
    """

    placed: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, tenants: Iterable[Expected]) -> People:
        made = cls()
        for tenant in tenants:
            made.left.update(tenant.removed)
            if tenant.status != "deleted":
                made.placed.update(tenant.members)
                admins = {email for email, role in tenant.members.items() if role == "admin"}
                made.enabled.update(tenant.members if tenant.status == "open" else admins)
            if tenant.status == "open":
                made.open.update(tenant.members)
        return made


def differences(suite: Suite, tenants: list[Expected]) -> list[str]:
    """Return everything that an integration holds otherwise than it should, in words; empty if all is right."""
    people = People.of(tenants)
    return [
        *_authentik(suite, tenants, people),
        *_stalwart(suite, tenants),
        *_ocis(suite, tenants, people),
    ]


def _living(tenants: list[Expected]) -> list[Expected]:
    return [tenant for tenant in tenants if tenant.status != "deleted"]


def _same(what: str, seen: Iterable[str], wanted: Iterable[str], allowed: Iterable[str] = ()) -> Iterator[str]:
    """Compare names as a multiset: each wanted once, nothing else but what is ``allowed``, and that once at most."""
    counted, needed = Counter(seen), set(wanted)
    yield from (f"{what}: {name} is missing" for name in needed - counted.keys())
    yield from (f"{what}: {name} is left over" for name in counted.keys() - needed - set(allowed))
    yield from (f"{what}: {name} is there {times} times" for name, times in counted.items() if times > 1)


SEEDED = ("dezky.local", "acme.example")
MAIL_OF_STALWART = ("sandbox.example",)
ADMINISTRATOR_OF_OCIS = "admin@example.org"


# -- Authentik


def _authentik(suite: Suite, tenants: list[Expected], people: People) -> Iterator[str]:
    living = _living(tenants)
    users = {user["pk"]: user for user in _pages(suite, "/core/users/", include_groups="false")}
    groups = {group["name"]: group for group in _pages(suite, "/core/groups/", include_users="true")}
    every_group = [group["name"] for group in _pages(suite, "/core/groups/", include_users="false")]
    ours = [name for name in every_group if name.startswith("dezky-tenant-")]
    yield from _same("groups", ours, (f"dezky-tenant-{tenant.slug}" for tenant in living))

    def inside(group: str) -> list[str]:
        return [users[pk]["username"] for pk in groups[group]["users"]] if group in groups else []

    for tenant in living:
        wanted = [*tenant.members, _probe(tenant)] if tenant.status == "open" else []
        yield from _same(f"group of {tenant.slug}", inside(f"dezky-tenant-{tenant.slug}"), wanted)
    probes = [_probe(tenant) for tenant in living if tenant.status == "open"]
    yield from _same("suite", inside("dezky-suite"), [*people.open, *probes])

    names = [user["username"] for user in users.values() if user["username"].partition("@")[2] not in {"", *SEEDED}]
    yield from _same("accounts", names, people.placed, people.left)
    addresses = Counter(user["email"] for user in users.values() if user["email"])
    yield from (f"accounts: {email} has {n}" for email, n in addresses.items() if n > 1)
    found = [user["username"] for user in users.values() if user["username"].startswith("dezky-probe-")]
    yield from _same("probes", found, map(_probe, living))
    tokens = [token["identifier"] for token in _pages(suite, "/core/tokens/")]
    yield from _same("tokens", (t for t in tokens if "dezky-probe-" in t), map(_password, living))
    for user in users.values():
        if user["username"] in people.placed and user["is_active"] != (user["username"] in people.enabled):
            yield f"account {user['username']}: is_active is {user['is_active']}"


def _probe(tenant: Expected) -> str:
    return f"dezky-probe-{tenant.slug}"


def _password(tenant: Expected) -> str:
    """As Authentik names the app password that it makes with a service account."""
    return f"service-account-{_probe(tenant)}-password"


def _pages(suite: Suite, path: str, **query: Any) -> Rows:
    found: Rows = []
    page = 1
    while page:
        answer = suite.authentik.api("GET", path, page=page, page_size=100, **query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["results"]
        page = answer.json()["pagination"]["next"]
    return found


# -- Stalwart


def _stalwart(suite: Suite, tenants: list[Expected]) -> Iterator[str]:
    living = _living(tenants)
    domains = _objects(suite, "Domain")
    wanted = [name for tenant in living for name in tenant.domains]
    yield from _same("mail domains", (d["name"] for d in domains if d["name"] not in MAIL_OF_STALWART), wanted)
    accounts = [a for a in _objects(suite, "Account") if a["emailAddress"].partition("@")[2] not in MAIL_OF_STALWART]
    boxes: dict[str, Expected] = {}
    left: set[str] = set()
    for tenant in living:
        at = f"@{tenant.domains[0]}"
        boxes |= {email: tenant for email in tenant.members if email.endswith(at)}
        left |= {email for email in tenant.removed if email.endswith(at)}
    yield from _same("mailboxes", (a["emailAddress"] for a in accounts), boxes, left)
    for account in accounts:
        email = account["emailAddress"]
        denied = STOPPED & set(account["permissions"].get("disabledPermissions") or {})
        stopped = email not in boxes or boxes[email].status == "suspended"
        if denied != (STOPPED if stopped else set()):
            yield f"mailbox {email}: denied is {sorted(denied)}"
        if email in boxes and account["quotas"].get("maxDiskQuota") != 5 * GIB:
            yield f"mailbox {email}: its quotas are {account['quotas']}"
    yield from (f"mail is still to be destroyed: {task}" for task in _objects(suite, "Task"))


def _objects(suite: Suite, noun: str) -> Rows:
    ids: list[str] = []
    while True:
        window = {"position": len(ids), "limit": 100, "calculateTotal": True}
        answer = suite.stalwart.call(f"x:{noun}/query", window)
        ids += answer["ids"]
        if len(ids) >= answer["total"]:
            break
    found: Rows = []
    for first in range(0, len(ids), 100):
        found += suite.stalwart.call(f"x:{noun}/get", {"ids": ids[first : first + 100]})["list"]
    return found


# -- OCIS


def _ocis(suite: Suite, tenants: list[Expected], people: People) -> Iterator[str]:
    living = {tenant.slug: tenant for tenant in _living(tenants)}
    drives = [d for d in suite.ocis.get("/graph/v1.0/drives")["value"] if d["driveType"] == "project"]
    yield from _same("spaces", (drive["name"] for drive in drives), living)
    users = {user["id"]: user for user in suite.ocis.get("/graph/v1.0/users")["value"]}
    names = [user["onPremisesSamAccountName"] for user in users.values()]
    # Somebody who came to a tenant while it was suspended gets a user when it is open again.
    yield from _same("users", (name for name in names if "@" in name), people.open, people.left | people.placed)
    for drive in drives:
        tenant = living.get(drive["name"])
        if tenant is not None:
            yield from _space(suite, drive, tenant, users)


def _space(suite: Suite, drive: dict[str, Any], tenant: Expected, users: dict[str, dict[str, Any]]) -> Iterator[str]:
    if is_disabled(drive) != (tenant.status == "suspended"):
        yield f"space {tenant.slug}: disabled is {is_disabled(drive)}"
    if tenant.status == "suspended":
        return  # what is in it follows when it is open again
    if drive["quota"]["total"] != tenant.seats * 10 * GIB:
        yield f"space {tenant.slug}: its quota is {drive['quota']['total'] / GIB} GiB"
    given = suite.ocis.get(f"/graph/v1beta1/drives/{drive['id']}/root/permissions")["value"]
    seen = {users[g["grantedToV2"]["user"]["id"]]["mail"]: g["roles"] for g in given}
    seen.pop(ADMINISTRATOR_OF_OCIS, None)  # who makes a space manages it
    wanted = {email: [ROLES[role]] for email, role in tenant.members.items()}
    if seen != wanted:
        yield f"space {tenant.slug}: {seen} instead of {wanted}"
