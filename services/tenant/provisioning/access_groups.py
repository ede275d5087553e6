"""Groups of Authentik that open the suite, and who is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from services.tenant.authentik import (
    PAGE_SIZE,
    Account,
    Authentik,
    AuthentikAway,
    AuthentikMissing,
    AuthentikRejected,
    account_from,
)
from services.tenant.models import MAX_SEATS
from services.tenant.provisioning.remote import NameTaken

TENANT_ID = "dezky_tenant_id"
ID_OF_NONE = ""


class Group(BaseModel):
    """A group as the API shows it."""

    pk: str
    name: str
    is_superuser: bool = False
    attributes: dict[str, Any] = {}

    @property
    def owner(self) -> str:
        """The id of the tenant whose group it is, or empty."""
        return str(self.attributes.get(TENANT_ID, ID_OF_NONE))


MEMBER_PAGES = MAX_SEATS // PAGE_SIZE + 100
"""A tenant of the largest size, and some strangers; a list that has not ended by then never ends."""


@dataclass(frozen=True, slots=True)
class AccessGroups:
    """Looks up, makes and fills groups; a group is addressed by its UUID, because a name may be given anew."""

    authentik: Authentik

    async def find(self, name: str) -> Group | None:
        """Return the group of exactly this name."""
        rows = await self.authentik.rows("core/groups/", {"name": name, "include_users": "false"})
        return next((group for group in map(_group, rows) if group.name == name), None)

    async def create(self, name: str, tenant_id: str = ID_OF_NONE) -> Group:
        """Return a new group, marked as the tenant's, or the one that somebody made meanwhile."""
        body = {"name": name, "attributes": {TENANT_ID: tenant_id} if tenant_id else {}}
        try:
            return _group(await self.authentik.call("POST", "core/groups/", json=body))
        except AuthentikRejected:
            made_meanwhile = await self.find(name)
            if made_meanwhile is None:
                raise
            return made_meanwhile

    async def mark(self, group: Group, tenant_id: str) -> None:
        """Mark a group as the tenant's; attributes are replaced whole."""
        attributes = {**group.attributes, TENANT_ID: tenant_id}
        await self.authentik.call("PATCH", f"core/groups/{group.pk}/", json={"attributes": attributes})

    async def members(self, group: str) -> list[Account]:
        """Return whoever is in a group."""
        only = {"groups_by_pk": group, "include_groups": "false"}
        return [account_from(row) for row in await self.authentik.rows("core/users/", only, pages=MEMBER_PAGES)]

    async def put(self, account: Account, group: str, *, inside: bool) -> None:
        """Put an account into a group or out of it."""
        verb = "add_user" if inside else "remove_user"
        await self.authentik.call("POST", f"core/groups/{group}/{verb}/", json={"pk": account.pk})


def check_ours(group: Group, tenant_id: str = ID_OF_NONE) -> None:
    """Refuse a group that is not ours to fill.

    Raises:
        NameTaken: it belongs to another tenant, or makes its members administrators of Authentik.
    """
    if group.is_superuser:
        raise NameTaken(f"the group {group.name} makes administrators of Authentik: rename it there")
    if group.owner not in {ID_OF_NONE, tenant_id}:
        raise NameTaken(f"the group {group.name} is marked as that of another tenant: rename it there")


async def account_named(authentik: Authentik, username: str) -> Account | None:
    """Return the account of exactly this user name."""
    found = await authentik.accounts(username=username)
    return found[0] if found else None


async def key_of(authentik: Authentik, identifier: str) -> str | None:
    """Return the key of the app password of this name, which is kept at Authentik only; None when there is none."""
    try:
        answer = await authentik.call("GET", f"core/tokens/{identifier}/view_key/")
    except AuthentikMissing:
        return None
    key = answer.get("key") if isinstance(answer, dict) else None
    if not isinstance(key, str):
        raise AuthentikAway("its answer holds no key")
    return key


def _group(row: Any) -> Group:
    try:
        return Group.model_validate(row)
    except ValidationError as error:
        raise AuthentikAway("its answer is no group") from error
