"""Authentik's part: a tenant's people are in its group and in the suite's, and an account without any use is disabled.

Access is by group. Applications of the suite are bound to ``dezky-suite``; the group of the tenant opens what is the
tenant's. A person is in the suite's group as long as any tenant of theirs is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.tenant.authentik import Account, Authentik
from services.tenant.people.models import AUTHENTIK, Human, Identity
from services.tenant.people.onboarding import IdentityConflict, Onboarding
from services.tenant.provisioning.access_groups import AccessGroups
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.models import Desired, Finding, Member
from services.tenant.provisioning.remote import Memo
from services.tenant.provisioning.suite_probe import SuiteProbe

SUITE_GROUP = "dezky-suite"
SHUT_OUT = "shut_out"


@dataclass(slots=True)
class _Pass:
    """One look at everything. ``changes`` counts what was not as it should be; ``nobody`` lacks an account."""

    desired: Desired
    memo: Memo
    group: str
    suite: str
    changes: int = 0
    nobody: list[str] = field(default_factory=list)


class IdentityBackend:
    """Makes Authentik agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, authentik: Authentik, onboarding: Onboarding, desires: Desires, probe: SuiteProbe) -> None:
        self._authentik = authentik
        self._groups = AccessGroups(authentik)
        self._onboarding = onboarding
        self._desires = desires
        self._probe = probe

    async def close(self) -> None:
        await self._probe.close()

    async def reconcile(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again, and try to sign in.

        Raises:
            AuthentikError, RemoteError, NameTaken
        """
        group = await self._groups.ensure(f"dezky-tenant-{desired.slug}", desired.tenant_id)
        await memo.put("group", group)
        suite = await self._groups.ensure(SUITE_GROUP)
        look = _Pass(desired, memo, group, suite)
        await self._pass(look)
        if look.changes:
            look = _Pass(desired, memo, group, suite)
            await self._pass(look)
        if look.changes:
            return Finding("pending", "NotSettled", f"{look.changes} things were not as they had just been made")
        return await self._prove(look)

    async def _prove(self, look: _Pass) -> Finding:
        desired = look.desired
        signs_in = await self._probe.signs_in(desired.slug, await self._probe.account(desired.slug))
        if signs_in and not desired.open:
            return Finding("pending", "StillAllowed", "Authentik still lets the tenant's probe sign in to the suite")
        if desired.open and not signs_in:
            return Finding("pending", "SignInRefused", "Authentik refuses the suite's sign-in to the tenant's probe")
        if look.nobody:
            return Finding("failed", "AccountMissing", f"no account at Authentik: {', '.join(look.nobody)}")
        return desired.achieved

    async def _pass(self, look: _Pass) -> None:
        inside = {account.uid: account for account in await self._groups.members(look.group)}
        probe = await self._probe.account(look.desired.slug)
        inside.pop(probe.uid, None)
        await self._place(look, probe, suite=look.desired.open)
        for member in look.desired.members:
            account = inside.pop(member.subject, None) or await self._account(member.human, look)
            if account is not None:
                await self._place(look, account, suite=member.standing.suite)
                await self._settle_activity(look, member, account)
        for stranger in inside.values():
            await self._dismiss(look, stranger)
        await self._let_in_again(look)

    async def _place(self, look: _Pass, account: Account, *, suite: bool) -> None:
        look.changes += await self._groups.put(account, look.suite, inside=suite)
        look.changes += await self._groups.put(account, look.group, inside=look.desired.open)

    async def _account(self, human: Human, look: _Pass) -> Account | None:
        try:
            return await self._onboarding.account_of(human)
        except IdentityConflict:
            look.nobody.append(human.id)
            return None

    async def _dismiss(self, look: _Pass, account: Account) -> None:
        """Take somebody out of the group who is nobody of the tenant's, or may not act any more."""
        standing = await self._desires.of_identity(Identity(AUTHENTIK, account.uid))
        if standing is not None and not standing.suite:
            look.changes += await self._groups.put(account, look.suite, inside=False)
        look.changes += await self._groups.put(account, look.group, inside=False)

    async def _settle_activity(self, look: _Pass, member: Member, account: Account) -> None:
        """Disable an account that has no use left; remembered first, because only such ones are enabled again."""
        shut_out = look.memo.map(SHUT_OUT)
        if not member.standing.enabled and account.is_active:
            await look.memo.put(SHUT_OUT, {**shut_out, member.human.id: account.pk})
            await self._authentik.set_active(account.pk, active=False)
            look.changes += 1

    async def _let_in_again(self, look: _Pass) -> None:
        """Enable whom this tenant's suspension had shut out and who has a use for the account again."""
        for person, pk in look.memo.map(SHUT_OUT).items():
            standing = await self._desires.of_person(person)
            if standing is not None and standing.may_act and not standing.enabled:
                still_in = any(member.human.id == person for member in look.desired.members)
                if still_in:
                    continue
            if standing is not None and standing.may_act:
                account = await self._authentik.account(pk)
                if account is not None and not account.is_active:
                    await self._authentik.set_active(pk, active=True)
                    look.changes += 1
            rest = {known: number for known, number in look.memo.map(SHUT_OUT).items() if known != person}
            await look.memo.put(SHUT_OUT, rest)
