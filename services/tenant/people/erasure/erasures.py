"""The use case «erase»: a tombstone in one transaction with what must not outlive the person; the rest follows."""

from __future__ import annotations

from services.tenant.models import Tenant
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.repository import RefusedIdentities, Traces
from services.tenant.people.models import AUTHENTIK, Human
from services.tenant.people.onboarding import IdentityConflict, Onboarding
from services.tenant.people.records import Records
from services.tenant.people.tasks.models import Leftover, Task
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.service import about
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.envelope import Actor, PersonResource
from shared.contracts.tenant import TenantUpdated
from shared.contracts.user import UserErased
from shared.errors import at_version
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction


class Erasures:
    """Forgets people."""

    def __init__(
        self,
        records: Records,
        traces: Traces,
        refused: RefusedIdentities,
        tenants: TenantRepository,
        onboarding: Onboarding | None,
        book: ErasureBook,
    ) -> None:
        self._records = records
        self._traces = traces
        self._refused = refused
        self._tenants = tenants
        self._onboarding = onboarding
        self._book = book

    async def erase(self, caller: Person, person: str, expected: int | None, claim: IdempotencyClaim) -> Human:
        """Leave nothing of a person but the id; a second time is a no-op.

        Raises:
            NotFound, StaleVersion, LastOperator, LastOwner, LastAdmin
            AuthentikError: their account could not be found out, without which it could never be removed.
        """
        account = await self.account_of(person)

        async def body(tx: Transaction) -> Human:
            found = await self._records.people.find_anywhere(person, tx)
            before = at_version(found, expected, "person", "them")
            await self._records.people.one_at_a_time(before.places, tx)
            for place in before.places:
                await self._records.keep_last(before, place, tx)
            return await self.erase_within(actor_of(caller), before, account, tx)

        erased = await self._records.transactions.run(body, claim)
        await self._traces.forget([person])
        return erased

    async def forget(self, people: list[str]) -> None:
        """Take what is personal of people who were erased out of whatever else this service keeps."""
        await self._traces.forget(people)

    async def account_of(self, person: str) -> int | None:
        """Return the identity provider's number of a person's account, asked for where we never learned it.

        Raises:
            AuthentikError: it cannot be asked now.
        """
        human = await self._records.people.find_anywhere(person)
        if human is None or human.account is not None or self._onboarding is None:
            return None if human is None else human.account
        if not any(identity.identity_provider == AUTHENTIK for identity in human.identities):
            return None
        try:
            return (await self._onboarding.account_of(human)).pk
        except IdentityConflict:
            return None

    async def erase_within(self, actor: Actor, before: Human, account: int | None, tx: Transaction) -> Human:
        """Write the tombstone, its event, and the task that removes the account."""
        after = before.erased(self._records.clock.now())
        if after is before:
            return before
        if actor.id == before.id:
            actor = Actor(type=actor.type, id=actor.id, surface=actor.surface)
        if before.platform_admin:
            await self._refused.refuse(before.id, before.identities, tx)
        await self._book.begin(before, tx)
        for slug in before.tenants:
            await self._leave_billing(actor, before, slug, tx)
        await self._records.write(actor, before, after, tx)
        await self._records.tasks.remove_all(before.id, tx)
        subjects = tuple(known.subject for known in before.identities if known.identity_provider == AUTHENTIK)
        task = Task("erase", before.id, leftover=Leftover(before.account or account, subjects))
        await self._records.tasks.open(task, tx)
        resource = PersonResource(type="user", id=before.id)
        await self._records.outbox.add(tx, UserErased(actor=actor, resource=resource, version=after.version))
        return after

    async def _leave_billing(self, actor: Actor, human: Human, slug: str, tx: Transaction) -> None:
        """Empty the billing contact of a tenant of theirs if it is their address.

        A tenant that is being deleted keeps what it has: its own erasure empties it.
        """
        before = await self._tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
        if before is None or not _is_contact(human, before):
            return
        if before.status not in {"deleting", "deleted"}:
            billing = before.billing.model_copy(update={"contact": None})
            after = before.update(self._records.clock.now(), billing=billing)
            await self._tenants.save(before, after, tx)
            await self._records.outbox.add(tx, TenantUpdated(**about(actor, before, after)))
        await self._traces.forget_billing(slug, human.email, tx)


def _is_contact(human: Human, tenant: Tenant) -> bool:
    contact = tenant.billing.contact
    return contact is not None and contact.casefold() == human.email.casefold()
