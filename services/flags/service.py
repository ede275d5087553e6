"""What can be done with flags."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.flags.models import KILL_NOTE, Flag, changes_between, state_of
from services.flags.repository import FlagRepository, FlagTenant, TenantProjection
from services.flags.seeds import SEEDS
from shared.actors import actor_of, system
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.envelope import Actor, Resource
from shared.contracts.flag import FlagCreated, FlagDeleted, FlagEvent, FlagKilled, FlagStatusName, FlagUpdated
from shared.errors import NotFound, at_version
from shared.flags import FlagRule, Verdict, evaluate
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page

FRESH_SECONDS = 1.0
PREVIEW_NAMES = 100
PREVIEW_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Preview:
    """Whom a rule would reach: how many of how many tenants, and the first of them by slug."""

    matched: int
    total: int
    first: tuple[str, ...]


class FlagService:
    """Use cases of flags. ``environment`` is this deployment's own name."""

    def __init__(
        self,
        flags: FlagRepository,
        tenants: TenantProjection,
        transactions: Transactions,
        outbox: Outbox,
        clock: Clock,
        environment: str,
    ) -> None:
        self._flags = flags
        self._tenants = tenants
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock
        self._environment = environment
        self._rules: tuple[float, dict[str, FlagRule]] = (float("-inf"), {})
        self._loading = asyncio.Lock()

    async def seed(self) -> None:
        """Create the flags that this platform comes with, each once in the life of the database."""
        for key, description in SEEDS.items():
            now = self._clock.now()
            flag = Flag(key=key, description=description, created_at=now, updated_at=now)

            async def body(tx: Transaction, flag: Flag = flag) -> None:
                if await self._flags.claim_seed(flag.key, tx) and not await self._flags.find_across_tenants(
                    flag.key, tx, deleted=True
                ):
                    await self._flags.insert(flag, tx)
                    await self._outbox.add(tx, FlagCreated(**_about(system("flags"), None, flag)))

            await self._transactions.run(body)

    async def create(self, caller: Person, flag: Flag, claim: IdempotencyClaim) -> Flag:
        """Create a flag.

        Raises:
            FlagExists: the key is in use.
        """

        async def body(tx: Transaction) -> Flag:
            grave = await self._flags.find_across_tenants(flag.key, tx, deleted=True)
            if grave is not None and grave.deleted:
                made = replace(flag, version=grave.version + 1)
                await self._flags.save(grave, made, tx)
            else:
                made = flag
                await self._flags.insert(flag, tx)
            await self._outbox.add(tx, FlagCreated(**_about(actor_of(caller), None, made)))
            return made

        made = await self._transactions.run(body, claim)
        self._forget()
        return made

    async def read(self, key: str) -> Flag:
        """Return a flag.

        Raises:
            NotFound: there is none.
        """
        flag = await self._flags.find_across_tenants(key)
        if flag is None:
            raise NotFound
        return flag

    async def page(self, limit: int, cursor: str | None) -> Page[Flag]:
        """Return a page of flags by key."""
        return await self._flags.page_across_tenants(limit, cursor)

    async def update(
        self, caller: Person, key: str, changes: dict[str, object], note: str | None, expected: int | None
    ) -> Flag:
        """Change state, percentage, scope or description; the same values again are a no-op.

        A change to off with the note ``kill-switch`` is a kill and recorded as one.
        """
        if changes.get("state") == "off" and note == KILL_NOTE:
            return await self.kill(caller, key, expected, None)

        def transition(flag: Flag) -> Flag:
            return flag.change(self._clock.now(), caller.id, note, **changes)

        def event(before: Flag, after: Flag) -> FlagEvent:
            return FlagUpdated(**_about(actor_of(caller), before, after), note=note)

        return await self._change(key, expected, None, transition, event)

    async def kill(self, caller: Person, key: str, expected: int | None, claim: IdempotencyClaim | None) -> Flag:
        """Switch a flag off for everybody."""

        def event(before: Flag, after: Flag) -> FlagEvent:
            return FlagKilled(**_about(actor_of(caller), before, after), note=KILL_NOTE)

        return await self._change(key, expected, claim, lambda flag: flag.kill(self._clock.now(), caller.id), event)

    async def delete(self, caller: Person, key: str, expected: int | None) -> None:
        """Delete a flag; it evaluates to false from now on."""

        def event(before: Flag, after: Flag) -> FlagEvent:
            return FlagDeleted(**_about(actor_of(caller), before, after))

        await self._change(key, expected, None, lambda flag: flag.delete(self._clock.now()), event)

    async def evaluate(self, caller: Person, tenant_slug: str) -> dict[str, bool]:
        """Return every flag's value for a tenant within the caller's scope.

        Raises:
            NotFound: no such tenant for this caller.
        """
        subject = (await self._tenant(caller, tenant_slug)).as_subject(self._environment)
        return {key: evaluate(rule, subject).value for key, rule in (await self._known()).items()}

    async def explain(self, caller: Person, key: str, tenant_slug: str) -> Verdict:
        """Return a flag's value for a tenant, and why."""
        tenant = await self._tenant(caller, tenant_slug)
        return evaluate(state_of(await self.read(key)).to_rule(), tenant.as_subject(self._environment))

    async def preview(self, key: str, state: FlagStatusName | None, pct: int | None) -> Preview:
        """Return whom the flag reaches, with the values given in place of its own."""
        rule = state_of(await self.read(key)).to_rule()
        rule = replace(rule, state=state or rule.state, pct=rule.pct if pct is None else pct)
        matched = 0
        first: list[str] = []
        after: str | None = None
        while batch := await self._tenants.matching_across_tenants(rule.scope, after, PREVIEW_BATCH):
            hits = [t.slug for t in batch if evaluate(rule, t.as_subject(self._environment)).value]
            matched += len(hits)
            first += hits[: PREVIEW_NAMES - len(first)]
            after = batch[-1].slug
        return Preview(matched, await self._tenants.count_across_tenants(), tuple(first))

    async def _tenant(self, caller: Person, slug: str) -> FlagTenant:
        tenant = await self._tenants.find(reader=caller, slug=slug)
        if tenant is None:
            raise NotFound
        return tenant

    async def _known(self) -> dict[str, FlagRule]:
        """Return all rules, at most a second old; however many ask, the database is asked once."""
        if time.monotonic() - self._rules[0] > FRESH_SECONDS:
            async with self._loading:
                if time.monotonic() - self._rules[0] > FRESH_SECONDS:
                    flags = await self._flags.all_across_tenants()
                    self._rules = (time.monotonic(), {flag.key: state_of(flag).to_rule() for flag in flags})
        return self._rules[1]

    def _forget(self) -> None:
        self._rules = (float("-inf"), self._rules[1])

    async def _change(
        self,
        key: str,
        expected: int | None,
        claim: IdempotencyClaim | None,
        transition: Callable[[Flag], Flag],
        event: Callable[[Flag, Flag], FlagEvent],
    ) -> Flag:
        async def body(tx: Transaction) -> Flag:
            before = at_version(await self._flags.find_across_tenants(key, tx), expected, "flag")
            after = transition(before)
            if after is not before:
                await self._flags.save(before, after, tx)
                await self._outbox.add(tx, event(before, after))
            return after

        changed = await self._transactions.run(body, claim)
        self._forget()
        return changed


def _about(actor: Actor, before: Flag | None, after: Flag) -> dict[str, object]:
    return {
        "actor": actor,
        "resource": Resource(type="flag", id=after.key, name=after.key),
        "version": after.version,
        "state": state_of(after),
        "changes": changes_between(before, after),
    }
