"""Makes accounts at Authentik agree with our records: look, act where they differ, record that it is done."""

from __future__ import annotations

from services.tenant.authentik import Account, Authentik
from services.tenant.people.models import PARTNER_GROUP, Human
from services.tenant.people.onboarding import Onboarding
from services.tenant.people.records import Records
from services.tenant.people.tasks.models import Task
from shared.mongo import Transaction


class Accounts:
    """What the worker does for ``activity`` and ``groups``. The record of the moment counts, not that of the intent."""

    def __init__(self, records: Records, authentik: Authentik, onboarding: Onboarding) -> None:
        self._records = records
        self._authentik = authentik
        self._onboarding = onboarding

    async def settle_activity(self, task: Task) -> None:
        """Disable the account of somebody who is shut out, enable that of everybody else.

        The end of an invitation voids what this platform handed out; an account that somebody had before stays theirs.

        Raises:
            IdentityConflict: Authentik has no such account. AuthentikError: try again later.
        """
        found = await self._find(task)
        if found is not None:
            human, account = found
            theirs = human.status == "expired" and account.person is None
            if account.is_active != human.active and not theirs:
                await self._authentik.set_active(account.pk, active=human.active)
        await self._done(task)

    async def settle_groups(self, task: Task) -> None:
        """Put partners' people into their group, and take others out.

        The operators' group is given by invitation only and never repaired here: what we know of it is what a token
        said, and a record that is behind must not make anybody an operator again.

        Raises:
            IdentityConflict: Authentik has no such account. AuthentikError: try again later.
        """
        found = await self._find(task)
        if found is not None:
            human, account = found
            wanted = human.partner is not None
            if (await self._authentik.group_id(PARTNER_GROUP) in account.groups) != wanted:
                change = self._authentik.join if wanted else self._authentik.leave
                await change(account.pk, PARTNER_GROUP)
        await self._done(task)

    async def forget(self, task: Task) -> None:
        """End the hold of a resend whose process was killed: nobody waits for its credential any more."""
        await self._done(task)

    async def _find(self, task: Task) -> tuple[Human, Account] | None:
        human = await self._records.people.find_anywhere(task.person)
        if human is None or not human.identities:
            return None
        return human, await self._onboarding.account_of(human)

    async def _done(self, task: Task) -> None:
        async def body(tx: Transaction) -> None:
            await self._records.tasks.finish(task, tx)

        await self._records.transactions.run(body)
