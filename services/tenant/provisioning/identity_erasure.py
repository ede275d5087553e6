"""Authentik's part of an erasure: the tenant's group and probe go, and the accounts that nobody has a use for.

An account is deleted only if this platform made it for just that person and the person has no other place. Others are
taken out of what the tenant opened, and otherwise left as they were found.
"""

from __future__ import annotations

from services.tenant.authentik import Account, Authentik
from services.tenant.people.models import AUTHENTIK, MAY_ACT, Human, Identity
from services.tenant.people.onboarding import identity_of
from services.tenant.provisioning.access_groups import ID_OF_NONE, AccessGroups, Group
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.models import Desired, Finding, Leaver
from services.tenant.provisioning.remote import Memo
from services.tenant.provisioning.suite_probe import SuiteProbe

GROUP_PREFIX = "dezky-tenant-"
SUITE_GROUP = "dezky-suite"
SHUT_OUT = "shut_out"
DOOMED_ACCOUNTS, DOOMED_GROUPS, DOOMED_PROBES = "doomed_accounts", "doomed_groups", "doomed_probes"


class IdentityErasure:
    """Erases a tenant at Authentik. What is to go is remembered first, so that it can be counted when it is gone."""

    def __init__(self, authentik: Authentik, groups: AccessGroups, desires: Desires, probe: SuiteProbe) -> None:
        self._authentik = authentik
        self._groups = groups
        self._desires = desires
        self._probe = probe

    async def erase(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again.

        Raises:
            AuthentikError, NameTaken, LeaseLost
        """
        if await self._pass(desired, memo) and (left := await self._pass(desired, memo)):
            return Finding("pending", "StillThere", f"Authentik still has {left} objects of the tenant")
        for pk in memo.map(DOOMED_ACCOUNTS):
            if await self._authentik.account(int(pk)) is not None:
                return Finding("pending", "StillThere", f"Authentik still has the account {pk}")
        gone = {"account": DOOMED_ACCOUNTS, "group": DOOMED_GROUPS, "probe": DOOMED_PROBES}
        return desired.erased_with({kind: len(memo.map(name)) for kind, name in gone.items()})

    async def _pass(self, desired: Desired, memo: Memo) -> int:
        """Remove what there is; return how much there was."""
        group, suite = await self._group(desired), await self._groups.find(SUITE_GROUP)
        suite_pk = suite.pk if suite is not None else ""
        changes = 0
        for leaver in desired.leavers:
            for account in await self._accounts_of(leaver.human):
                changes += await self._let_go(leaver, account, suite_pk, memo)
        if group is not None:
            changes += await self._remove_group(group, suite_pk, memo)
        if (probe := await self._probe.find(desired.slug)) is not None:
            await memo.keep(DOOMED_PROBES, str(probe.pk), value=True)
            changes += await self._probe.remove(desired.slug)
        return changes

    async def _group(self, desired: Desired) -> Group | None:
        """Return the tenant's group; one of that name that is marked as another's is not, nor is a powerful one."""
        group = await self._groups.find(f"{GROUP_PREFIX}{desired.slug}")
        ours = group is not None and not group.is_superuser and group.owner in {ID_OF_NONE, desired.tenant_id}
        return group if ours else None

    async def _accounts_of(self, human: Human) -> list[Account]:
        """Return the accounts that are the person's, or that an invitation of them had only just made."""
        found: dict[int, Account] = {}
        if human.account is not None and (known := await self._authentik.account(human.account)) is not None:
            found[known.pk] = known
        for spelling in dict.fromkeys((human.email, human.email.lower())):
            for account in await self._authentik.accounts(username=spelling):
                found[account.pk] = account
        return [a for a in found.values() if identity_of(a) in human.identities or a.person == human.id]

    async def _let_go(self, leaver: Leaver, account: Account, suite: str, memo: Memo) -> int:
        person = leaver.human
        if leaver.alone and account.person == person.id and account.ordinary:
            await memo.keep(DOOMED_ACCOUNTS, str(account.pk), value=True)
            await self._authentik.remove_account(account.pk)
            return 1
        changes = 0
        if not leaver.suite and suite in account.groups:
            await self._groups.put(account, suite, inside=False)
            changes += 1
        if person.id in memo.map(SHUT_OUT):
            # It was enabled before the tenant was shut, and it is not ours: it is given back as it was.
            if person.status in MAY_ACT and not account.is_active:
                await self._authentik.set_active(account.pk, active=True)
                changes += 1
            await memo.drop(SHUT_OUT, person.id)
        return changes

    async def _remove_group(self, group: Group, suite: str, memo: Memo) -> int:
        """Delete the group; whoever is still in it and known here leaves the suite first, unless another opens it."""
        for account in await self._groups.members(group.pk):
            standing = await self._desires.of_identity(Identity(AUTHENTIK, account.uid))
            if standing is not None and not standing.suite and suite in account.groups:
                await self._groups.put(account, suite, inside=False)
        await memo.keep(DOOMED_GROUPS, group.pk, value=True)
        await self._authentik.remove_group(group.pk)
        return 1
