"""What the worker does after an erasure: look for what is left, remove it, look once more."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from services.tenant.authentik import Account, Authentik, AuthentikAway, AuthentikMissing, account_from
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.repository import Traces
from services.tenant.people.records import Records
from services.tenant.people.tasks.models import Leftover, Task
from shared.errors import Unavailable
from shared.mongo import Transaction

LAST_LOOK_AFTER = timedelta(seconds=90)
"""A request under way when its caller was erased may still record them; internal tokens live for a minute."""

OUR_GROUPS = "dezky-"


class LastLookLater(Unavailable):
    code, title = "last_look_later", "What is left of the person is looked for once more"


class Removal:
    """Every step may be repeated: what is gone stays gone. ``authentik`` is None where there is none to ask."""

    def __init__(self, records: Records, traces: Traces, book: ErasureBook, authentik: Authentik | None) -> None:
        self._records = records
        self._traces = traces
        self._book = book
        self._authentik = authentik

    async def settle(self, task: Task) -> None:
        """Forget what this service kept, and remove the account or take it out of our groups.

        Raises:
            AuthentikError: try again later. LastLookLater: done, but for the last look.
        """
        await self._traces.forget([task.person])
        if self._authentik is not None:
            for account in await self._accounts(self._authentik, task):
                if not await self._let_go(self._authentik, account):
                    await self._book.keep_account(task.person)
        age = self._records.clock.now() - (task.created_at or self._records.clock.now())
        if age < LAST_LOOK_AFTER:
            raise LastLookLater(retry_after=int((LAST_LOOK_AFTER - age).total_seconds()) + 1)

        async def body(tx: Transaction) -> None:
            await self._records.tasks.finish(task, tx)
            await self._book.end(task.person, self._records.clock.now(), tx)

        await self._records.transactions.run(body)

    async def _accounts(self, authentik: Authentik, task: Task) -> list[Account]:
        """Return the account that the person was, and whatever was made for them and never became theirs."""
        mark = json.dumps({"dezky": {"person": task.person}})
        made = [account_from(row) for row in await authentik.rows("core/users/", {"attributes": mark})]
        found = {account.pk: account for account in made if account.person == task.person}
        leftover = task.leftover or Leftover()
        if leftover.account is not None and leftover.account not in found:
            known = await authentik.account(leftover.account)
            if known is not None and known.uid in leftover.subjects:
                found[known.pk] = known
        return list(found.values())

    async def _let_go(self, authentik: Authentik, account: Account) -> bool:
        """Delete an account that this platform made; somebody's own, or one with power over Authentik, leaves us.

        Return whether it was deleted.
        """
        if account.person is not None and account.ordinary:
            await authentik.remove_account(account.pk)
            return True
        for group in await self._groups_of(authentik, account):
            if group.startswith(OUR_GROUPS):
                await authentik.leave(account.pk, group)
        return False

    async def _groups_of(self, authentik: Authentik, account: Account) -> list[str]:
        try:
            row: Any = await authentik.call("GET", f"core/users/{account.pk}/")
            return [str(group["name"]) for group in row["groups_obj"]]
        except AuthentikMissing:
            return []
        except (KeyError, TypeError) as error:
            raise AuthentikAway("its answer names no groups") from error
