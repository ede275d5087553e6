"""People from a seed file, created when they are missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import Field, TypeAdapter

from services.tenant.people.events import about
from services.tenant.people.models import Human, Identity
from services.tenant.people.repository import IdentityTaken, PeopleRepository
from shared.actors import system
from shared.clock import Clock
from shared.contracts.user import PartnerRoleState, TenantRoleName, UserRegistered
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.schemas import View


class SeedPerson(View):
    identity_provider: str
    subject: str
    email: str
    name: str
    partner: PartnerRoleState | None = None
    tenants: dict[str, TenantRoleName] = Field(default_factory=dict)


class SeedFile(View):
    people: list[SeedPerson]


class SeedPeople:
    """Creates the people of a seed file; safe to repeat, and never over a later change."""

    def __init__(self, people: PeopleRepository, transactions: Transactions, outbox: Outbox, clock: Clock) -> None:
        self._people = people
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def run(self, file: Path) -> None:
        """Create who is missing of ``file``."""
        for row in TypeAdapter(SeedFile).validate_json(await asyncio.to_thread(file.read_bytes)).people:
            identity = Identity(row.identity_provider, row.subject)
            if await self._people.find_by_identity(identity) is None:
                await self._create(row, identity)

    async def _create(self, row: SeedPerson, identity: Identity) -> None:
        human = Human(
            id=new_id(),
            email=row.email,
            name=row.name,
            identities=(identity,),
            created_at=self._clock.now(),
            partner=row.partner,
            tenants=dict(row.tenants),
        )

        async def body(tx: Transaction) -> None:
            await self._people.insert(human, tx)
            await self._outbox.add(tx, UserRegistered(**about(system("seed"), None, human)))

        try:
            await self._transactions.run(body)
        except IdentityTaken:  # another replica was faster
            return
