"""Authentik's part: a tenant's people are in its group and in the suite's, and an account without any use is disabled.

Access is by group. Applications of the suite are bound to ``dezky-suite``; the group of the tenant opens what is the
tenant's. A person is in the suite's group as long as any tenant of theirs is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.tenant.authentik import Account, Authentik
from services.tenant.people.models import AUTHENTIK, Human, Identity
from services.tenant.people.onboarding import IdentityConflict, Onboarding
from services.tenant.provisioning.access_groups import ID_OF_NONE, AccessGroups, check_ours
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.identity_erasure import GROUP_PREFIX, SHUT_OUT, SUITE_GROUP, IdentityErasure
from services.tenant.provisioning.models import Desired, Finding, Member
from services.tenant.provisioning.remote import Memo
from services.tenant.provisioning.suite_probe import SuiteProbe


@dataclass(slots=True)
class _Pass:
    """One look at everything. ``nobody`` lacks an account."""

    desired: Desired
    memo: Memo
    found: Differences
    group: str
    suite: str
    nobody: list[str] = field(default_factory=list)


class IdentityBackend:
    """Makes Authentik agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, authentik: Authentik, onboarding: Onboarding, desires: Desires, probe: SuiteProbe) -> None:
        self._authentik = authentik
        self._groups = AccessGroups(authentik)
        self._onboarding = onboarding
        self._desires = desires
        self._probe = probe
        self._erasure = IdentityErasure(authentik, self._groups, desires, probe)

    async def close(self) -> None:
        await self._probe.close()

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        """Look, act, look again, and try to sign in.

        Raises:
            AuthentikError, RemoteError, NameTaken, LeaseLost
        """
        if desired.gone:
            return await self._erasure.erase(desired, memo)
        look = await self._pass(desired, memo, differences)
        if differences.changes:
            differences.again()
            look = await self._pass(desired, memo, differences)
        if differences.changes:
            if not desired.open:
                told = f"Authentik had to be told again of {differences.changes} memberships or accounts"
                return Finding("pending", "StillAllowed", told)
            return Finding("pending", "NotSettled", f"{differences.changes} things were not as they had just been made")
        return await self._prove(look)

    async def _prove(self, look: _Pass) -> Finding:
        desired = look.desired
        probe = await self._probe.find(desired.slug)
        # A probe that could not sign in anywhere would be refused whatever the suite lets in.
        if probe is None or not probe.is_active:
            return Finding("pending", "NotSettled", "the probe of the tenant has gone while it was looked at")
        signs_in = await self._probe.signs_in(desired.slug, probe)
        if signs_in and not desired.open:
            return Finding("pending", "StillAllowed", "Authentik still lets the tenant's probe sign in to the suite")
        if desired.open and not signs_in:
            return Finding("pending", "SignInRefused", "Authentik refuses the suite's sign-in to the tenant's probe")
        if look.nobody:
            return Finding("failed", "AccountMissing", f"no account at Authentik: {', '.join(look.nobody)}")
        return desired.achieved

    async def _pass(self, desired: Desired, memo: Memo, found: Differences) -> _Pass:
        group = await self._group(f"{GROUP_PREFIX}{desired.slug}", desired.tenant_id, found)
        await memo.put("group", group)
        look = _Pass(desired, memo, found, group, await self._group(SUITE_GROUP, ID_OF_NONE, found))
        inside = {account.uid: account for account in await self._groups.members(look.group)}
        probe = await self._probing(look)
        inside.pop(probe.uid, None)
        await self._place(look, probe, suite=desired.open)
        for member in desired.members:
            account = inside.pop(member.subject, None) or await self._account(member.human, look)
            if account is not None:
                await self._place(look, account, suite=member.standing.suite)
                await self._settle_activity(look, member, account)
        for stranger in inside.values():
            await self._dismiss(look, stranger)
        await self._keep_out(look)
        await self._let_in_again(look)
        return look

    async def _group(self, name: str, tenant_id: str, found: Differences) -> str:
        group = await self._groups.find(name)
        if group is None:
            await found.repair("group-deleted", name)
            group = await self._groups.create(name, tenant_id)
        check_ours(group, tenant_id)
        if group.owner != tenant_id:
            await found.repair("group-unmarked", group.pk)
            await self._groups.mark(group, tenant_id)
        return group.pk

    async def _probing(self, look: _Pass) -> Account:
        slug = look.desired.slug
        probe = await self._probe.find(slug)
        if probe is None:
            await look.found.repair("probe-deleted", look.group)
            return await self._probe.create(slug)
        if not probe.is_active:
            await look.found.repair("probe-disabled", probe.pk)
            await self._authentik.set_active(probe.pk, active=True)
        return probe

    async def _place(self, look: _Pass, account: Account, *, suite: bool) -> None:
        for kind, group, inside in (("suite-member", look.suite, suite), ("member", look.group, look.desired.open)):
            if (group in account.groups) != inside:
                change = "removed" if inside else "added"
                if await look.found.repair(f"{kind}-{change}", account.pk):
                    await self._groups.put(account, group, inside=inside)

    async def _account(self, human: Human, look: _Pass) -> Account | None:
        try:
            return await self._onboarding.account_of(human)
        except IdentityConflict:
            look.nobody.append(human.id)
            return None

    async def _dismiss(self, look: _Pass, account: Account) -> None:
        """Take somebody out of the group who is nobody of the tenant's, or may not act any more."""
        standing = await self._desires.of_identity(Identity(AUTHENTIK, account.uid))
        if standing is not None and not standing.suite and look.suite in account.groups:
            await look.found.repair("suite-member-added", account.pk)
            await self._groups.put(account, look.suite, inside=False)
        await look.found.repair("member-added", account.pk)
        await self._groups.put(account, look.group, inside=False)

    async def _settle_activity(self, look: _Pass, member: Member, account: Account) -> None:
        """Disable an account that has no use left; who disabled one that has a use had a reason."""
        if not member.standing.enabled and account.is_active:
            await self._shut_out(look, member.human, account)
        elif member.standing.enabled and not account.is_active and member.human.id not in look.memo.map(SHUT_OUT):
            await look.found.repair("account-disabled", account.pk)

    async def _keep_out(self, look: _Pass) -> None:
        """Disable again what belongs to somebody who is shut out."""
        for human in look.desired.barred:
            try:
                account = await self._onboarding.account_of(human)
            except IdentityConflict:
                continue  # no account, no sign-in
            if account.is_active:
                await self._shut_out(look, human, account)

    async def _shut_out(self, look: _Pass, human: Human, account: Account) -> None:
        """Disable an account; remembered first, because only such ones are enabled again."""
        await look.found.repair("account-enabled", account.pk)
        await look.memo.keep(SHUT_OUT, human.id, account.pk)
        await self._authentik.set_active(account.pk, active=False)

    async def _let_in_again(self, look: _Pass) -> None:
        """Enable whom this tenant's suspension had shut out and who has a use for the account again."""
        barred = {human.id for human in look.desired.barred}
        here = {member.human.id for member in look.desired.members}
        for person, pk in look.memo.map(SHUT_OUT).items():
            standing = await self._desires.of_person(person)
            may_act = standing is not None and standing.may_act
            if person in barred or (may_act and standing and not standing.enabled and person in here):
                continue
            if may_act:
                account = await self._authentik.account(pk)
                if account is not None and not account.is_active:
                    await self._authentik.set_active(pk, active=True)
                    look.found.worked()
            await look.memo.drop(SHUT_OUT, person)
