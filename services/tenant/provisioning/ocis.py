"""OCIS's part: one project space per tenant, with its people in it and a quota that follows the seats."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from services.tenant.people.models import Human
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.libre_graph import SPACE_EDITOR, SPACE_MANAGER, Body, LibreGraph
from services.tenant.provisioning.models import SPACE_BYTES_PER_SEAT, Desired, Finding, Member
from services.tenant.provisioning.ocis_erasure import SPACE, USERS, OcisErasure, is_disabled, marked_spaces
from services.tenant.provisioning.remote import Memo, RemoteRefused
from services.tenant.provisioning.repository import ProvisionedUsers

_ROLES = {"admin": SPACE_MANAGER, "member": SPACE_EDITOR}


@dataclass(slots=True)
class _Pass:
    """One look at everything. ``refused`` have no user there."""

    desired: Desired
    memo: Memo
    found: Differences
    space: Body
    refused: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.space["id"])


class OcisBackend:
    """Makes OCIS agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, graph: LibreGraph, users: ProvisionedUsers, desires: Desires) -> None:
        self._graph = graph
        self._users = users
        self._erasure = OcisErasure(graph, users, desires)

    async def close(self) -> None:
        await self._graph.close()

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError, LeaseLost
        """
        if desired.gone:
            return await self._erasure.erase(desired, memo)
        look = await self._pass(desired, memo, differences)
        if differences.changes:
            differences.again()
            look = await self._pass(desired, memo, differences)
        if not desired.open and not is_disabled(look.space):
            return Finding("pending", "StillAllowed", "OCIS still lists the tenant's space as enabled")
        if differences.changes:
            return Finding("pending", "NotSettled", f"{differences.changes} things were not as they had just been made")
        if look.refused:
            return Finding("failed", "UserRefused", f"OCIS refuses them as users: {', '.join(look.refused)}")
        return desired.achieved

    async def _pass(self, desired: Desired, memo: Memo, found: Differences) -> _Pass:
        look = _Pass(desired, memo, found, await self._space(desired, memo, found))
        if not desired.open:
            if not is_disabled(look.space):
                await found.repair("space-enabled", look.id)
                await self._graph.disable_space(look.id)
        elif await self._open(look):
            await self._fill(look)
        await self._forget_erased(look)
        return look

    async def _space(self, desired: Desired, memo: Memo, found: Differences) -> Body:
        """Return the tenant's space, found by what we remember or by our mark, or made."""
        remembered = memo.get(SPACE)
        if remembered is not None:
            space = await self._graph.space(remembered)
            if space is not None:
                return space
        # Of twins that somebody else made, every replica takes the same one.
        space = min(await marked_spaces(self._graph, desired.mark), key=lambda each: str(each["id"]), default=None)
        if space is None:
            await found.repair("space-deleted", remembered or "new")
            total = desired.seats * SPACE_BYTES_PER_SEAT
            space = await self._graph.create_space(desired.slug, desired.mark, total)
        await memo.put(SPACE, str(space["id"]))
        return space

    async def _forget_erased(self, look: _Pass) -> None:
        """Delete the users that were made here for people who are erased; of others the role was taken, no more."""
        for person in look.desired.erased:
            user = look.memo.map(USERS).get(person)
            if user is None:
                continue
            if await self._users.made(person):
                await self._graph.remove_user(str(user))
                await self._users.forget(person)
                look.found.worked()
                await look.memo.drop(USERS, person)

    async def _open(self, look: _Pass) -> bool:
        """Enable the space and set it right; False if it stays disabled, because that was accepted."""
        if is_disabled(look.space):
            if not await look.found.repair("space-disabled", look.id):
                return False
            await self._graph.enable_space(look.id)
        mark, description = look.desired.mark, str(look.space.get("description") or "")
        if mark not in description:
            await look.found.repair("space-unmarked", look.id)
            await self._graph.set_description(look.id, f"{description} {mark}".strip())
        total = look.desired.seats * SPACE_BYTES_PER_SEAT
        if (look.space.get("quota") or {}).get("total") != total and await look.found.repair("space-quota", look.id):
            await self._graph.set_quota(look.id, total)
        return True

    async def _fill(self, look: _Pass) -> None:
        """Give the tenant's people their role, and take it from those who left; guests of theirs are theirs."""
        given = {_holder(permission): permission for permission in await self._graph.permissions(look.id)}
        staying: set[str] = set()
        for member in look.desired.members:
            user = await self._user(look, member)
            if user is not None:
                staying.add(user)
                await self._give(look, user, _ROLES[member.role], given.get(user))
        for user in look.memo.map(USERS).values():
            if user in given and user not in staying and await look.found.repair("space-member-added", user):
                await self._graph.revoke(look.id, str(given[user]["id"]))

    async def _give(self, look: _Pass, user: str, role: str, permission: Body | None) -> None:
        if permission is None:
            if await look.found.repair("space-member-removed", user):
                await self._graph.invite(look.id, user, role)
        elif permission.get("roles") != [role] and await look.found.repair("space-role", user):
            await self._graph.change_role(look.id, str(permission["id"]), role)

    async def _user(self, look: _Pass, member: Member) -> str | None:
        """Return the id of a person's user: the one whose name is what Authentik says at their sign-in."""
        human = member.human
        known = look.memo.map(USERS).get(human.id)
        user = None if known is None else await self._graph.user(known)
        if user is None:
            user = await self._graph.user(human.email) or await self._create(look, human, known)
            if user is None:
                look.refused.append(human.id)
                return None
            await look.memo.keep(USERS, human.id, str(user["id"]))
        await self._rename(look, human, user)
        return str(user["id"])

    async def _create(self, look: _Pass, human: Human, known: str | None) -> Body | None:
        await look.found.repair("user-deleted", known or "new")
        name = human.email
        # Before the call: if its reply is lost, what is found afterwards is known as made here.
        await self._users.making(human.id)
        try:
            # Nobody signs in with this password: signing in is Authentik's.
            return await self._graph.create_user(name, human.name or name, name, secrets.token_urlsafe(32))
        except RemoteRefused:
            user = await self._graph.user(name)
            if user is None:
                await self._users.forget(human.id)
            return user

    async def _rename(self, look: _Pass, human: Human, user: Body) -> None:
        """Let a user that was made here follow the person's name and address, by which a sign-in finds it."""
        wanted = {
            "displayName": human.name or human.email,
            "mail": human.email,
            "onPremisesSamAccountName": human.email,
        }
        other = {member: value for member, value in wanted.items() if user.get(member) != value}
        if not other or not await self._users.made(human.id):
            return
        if await look.found.repair("user-changed", user["id"]):
            try:
                await self._graph.change_user(str(user["id"]), **other)
            except RemoteRefused:
                look.refused.append(human.id)


def _holder(permission: Body) -> str:
    granted = permission.get("grantedToV2") or {}
    return str((granted.get("user") or {}).get("id", ""))
