"""OCIS's part of an erasure: the tenant's space is purged, and the users that were made here and have no other tenant.

A space is disabled before it can be purged. A user that somebody else made stays, as do those of people who remain.
"""

from __future__ import annotations

from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.libre_graph import Body, LibreGraph
from services.tenant.provisioning.models import Desired, Finding
from services.tenant.provisioning.remote import Memo
from services.tenant.provisioning.repository import ProvisionedUsers

SPACE, USERS = "space", "users"
DOOMED_SPACES, DOOMED_USERS = "doomed_spaces", "doomed_users"


class OcisErasure:
    """Erases a tenant at OCIS. What is to go is remembered first, so that it can be counted when it is gone."""

    def __init__(self, graph: LibreGraph, users: ProvisionedUsers, desires: Desires) -> None:
        self._graph = graph
        self._users = users
        self._desires = desires

    async def erase(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError, LeaseLost
        """
        for space in await self._spaces(desired, memo):
            await self._purge(space)
        for person, user in (await self._users_to_go(desired, memo)).items():
            await self._graph.remove_user(user)
            await self._users.forget(person)
        if left := len(await self._spaces(desired, memo)):
            return Finding("pending", "StillThere", f"OCIS still has {left} spaces of the tenant")
        for user in memo.all(DOOMED_USERS):
            if await self._graph.user(user) is not None:
                return Finding("pending", "StillThere", f"OCIS still has the user {user}")
        gone = {"space": DOOMED_SPACES, "user": DOOMED_USERS}
        return desired.erased_with({kind: len(memo.all(name)) for kind, name in gone.items()})

    async def _spaces(self, desired: Desired, memo: Memo) -> list[Body]:
        """Return the tenant's spaces, whoever made them: the one remembered, and all that carry the mark."""
        found = {str(space["id"]): space for space in await marked_spaces(self._graph, desired.mark)}
        for identity in {memo.get(SPACE), *memo.all(DOOMED_SPACES)} - {None} - found.keys():
            if (space := await self._graph.space(str(identity))) is not None:
                found[str(space["id"])] = space
        await memo.add(DOOMED_SPACES, found)
        return list(found.values())

    async def _purge(self, space: Body) -> None:
        identity = str(space["id"])
        if not is_disabled(space):
            await self._graph.disable_space(identity)
        await self._graph.purge_space(identity)

    async def _users_to_go(self, desired: Desired, memo: Memo) -> dict[str, str]:
        """Return the users to delete by person: of those who are here, and of those who were."""
        known = memo.map(USERS)
        for leaver in desired.leavers:
            # Made, perhaps, by a comparison that was interrupted before it could remember whom it had made.
            if leaver.human.id not in known and await self._users.made(leaver.human.id):
                user = await self._graph.user(leaver.human.email)
                if user is not None:
                    known[leaver.human.id] = str(user["id"])
        going = {
            person: str(user)
            for person, user in known.items()
            if await self._users.made(person) and not await self._desires.has_tenant_besides(desired.slug, person)
        }
        await memo.add(DOOMED_USERS, going.values())
        return going


async def marked_spaces(graph: LibreGraph, mark: str) -> list[Body]:
    """Return all spaces that carry a tenant's mark."""
    return [space for space in await graph.spaces() if mark in str(space.get("description", ""))]


def is_disabled(space: Body) -> bool:
    """Tell whether nobody can use the space."""
    root = space.get("root") or {}
    return bool((root.get("deleted") or {}).get("state") == "trashed")
