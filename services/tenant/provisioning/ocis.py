"""OCIS's part: one project space per tenant, with its people in it and a quota that follows the seats."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from services.tenant.provisioning.libre_graph import SPACE_EDITOR, SPACE_MANAGER, Body, LibreGraph
from services.tenant.provisioning.models import SPACE_BYTES_PER_SEAT, Desired, Finding, Member
from services.tenant.provisioning.remote import Memo, RemoteRefused

SPACE, USERS = "space", "users"
_ROLES = {"admin": SPACE_MANAGER, "member": SPACE_EDITOR}


@dataclass(slots=True)
class _Pass:
    """One look at everything. ``changes`` counts what was not as it should be; ``refused`` have no user there."""

    desired: Desired
    memo: Memo
    space: Body
    changes: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.space["id"])

    @property
    def disabled(self) -> bool:
        root = self.space.get("root") or {}
        return (root.get("deleted") or {}).get("state") == "trashed"


class OcisBackend:
    """Makes OCIS agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, graph: LibreGraph) -> None:
        self._graph = graph

    async def close(self) -> None:
        await self._graph.close()

    async def reconcile(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError
        """
        look = await self._pass(desired, memo)
        if look.changes:
            look = await self._pass(desired, memo)
        if not desired.open and not look.disabled:
            return Finding("pending", "StillAllowed", "OCIS still lists the tenant's space as enabled")
        if look.changes:
            return Finding("pending", "NotSettled", f"{look.changes} things were not as they had just been made")
        if look.refused:
            return Finding("failed", "UserRefused", f"OCIS refuses them as users: {', '.join(look.refused)}")
        return desired.achieved

    async def _pass(self, desired: Desired, memo: Memo) -> _Pass:
        look = _Pass(desired, memo, await self._space(desired, memo))
        if desired.open:
            await self._open(look)
            await self._fill(look)
        elif not look.disabled:
            await self._graph.disable_space(look.id)
            look.changes += 1
        return look

    async def _space(self, desired: Desired, memo: Memo) -> Body:
        """Return the tenant's space, found by what we remember or by our mark, or made."""
        remembered = memo.get(SPACE)
        if remembered is not None:
            space = await self._graph.space(remembered)
            if space is not None:
                return space
        marked = [space for space in await self._graph.spaces() if desired.mark in str(space.get("description", ""))]
        # Of twins that somebody else made, every replica takes the same one.
        space = min(marked, key=lambda each: str(each["id"])) if marked else None
        if space is None:
            total = desired.seats * SPACE_BYTES_PER_SEAT
            space = await self._graph.create_space(desired.slug, desired.mark, total)
        await memo.put(SPACE, str(space["id"]))
        return space

    async def _open(self, look: _Pass) -> None:
        if look.disabled:
            await self._graph.enable_space(look.id)
            look.changes += 1
        total = look.desired.seats * SPACE_BYTES_PER_SEAT
        if (look.space.get("quota") or {}).get("total") != total:
            await self._graph.set_quota(look.id, total)
            look.changes += 1

    async def _fill(self, look: _Pass) -> None:
        """Give the tenant's people their role, and take it from those who left; guests of theirs are theirs."""
        given = {_holder(permission): permission for permission in await self._graph.permissions(look.id)}
        staying: set[str] = set()
        for member in look.desired.members:
            user = await self._user(look, member)
            if user is not None:
                staying.add(user)
                await self._give(look, user, _ROLES[member.role], given.get(user))
        for person, user in look.memo.map(USERS).items():
            if user not in staying:
                if user in given:
                    await self._graph.revoke(look.id, str(given[user]["id"]))
                    look.changes += 1
                rest = {known: other for known, other in look.memo.map(USERS).items() if known != person}
                await look.memo.put(USERS, rest)

    async def _give(self, look: _Pass, user: str, role: str, permission: Body | None) -> None:
        if permission is None:
            await self._graph.invite(look.id, user, role)
        elif permission.get("roles") != [role]:
            await self._graph.change_role(look.id, str(permission["id"]), role)
        else:
            return
        look.changes += 1

    async def _user(self, look: _Pass, member: Member) -> str | None:
        """Return the id of a person's user: the one whose name is what Authentik says at their sign-in."""
        known = look.memo.map(USERS).get(member.human.id)
        if known is not None and await self._graph.user(known) is not None:
            return str(known)
        name = member.human.email
        user = await self._graph.user(name)
        if user is None:
            try:
                # Nobody signs in with this password: signing in is Authentik's.
                user = await self._graph.create_user(name, member.human.name or name, name, secrets.token_urlsafe(32))
            except RemoteRefused:
                user = await self._graph.user(name)
        if user is None:
            look.refused.append(member.human.id)
            return None
        await look.memo.put(USERS, {**look.memo.map(USERS), member.human.id: str(user["id"])})
        return str(user["id"])


def _holder(permission: Body) -> str:
    granted = permission.get("grantedToV2") or {}
    return str((granted.get("user") or {}).get("id", ""))
