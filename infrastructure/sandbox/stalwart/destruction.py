"""The task that removes the mail of destroyed accounts: an account is gone at once, its mail a while later."""

import asyncio
import time
from typing import Any

from infrastructure.sandbox.kit import transaction
from infrastructure.sandbox.stalwart.objects import Draft, Objects, Stored, number_id, text_id


class Destruction:
    """Tasks are objects, so that they outlast a kill; `delay` is in seconds."""

    def __init__(self, objects: Objects, delay: float) -> None:
        self._objects = objects
        self._delay = delay
        self._wake = asyncio.Event()

    def schedule(self, account: Stored) -> None:
        """Within the transaction that removes the account."""
        body: dict[str, Any] = {
            "@type": "DestroyAccount",
            "accountId": text_id(account.id),
            "accountName": account.body["name"],
            "accountDomainId": account.body["domainId"],
            "accountType": account.body["@type"],
            "due": time.time() + self._delay,
        }
        self._objects.add("Task", Draft(body, {}, frozenset(), account.tenant))
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            tasks = self._objects.every("Task")
            due = min((task.body["due"] for task in tasks), default=None)
            if due is None:
                await self._wake.wait()
                continue
            await asyncio.sleep(max(0.0, due - time.time()))
            self._perform([task for task in tasks if task.body["due"] <= time.time()])

    def _perform(self, tasks: list[Stored]) -> None:
        with transaction(self._objects.store):
            for task in tasks:
                account = number_id(task.body["accountId"])
                self._objects.store.execute("DELETE FROM mail WHERE account = ?", (account,))
                self._objects.remove(task.id)
