"""What this service hears of tenants: the projection of partners' customers."""

from __future__ import annotations

from services.partner.models import Customer
from services.partner.repository import CustomerRepository
from shared.contracts.envelope import CloudEvent, Contract, Moment
from shared.mongo import Transaction

CONSUMER = "partner-tenants"


class _TenantState(Contract):
    """Of a tenant's state, what this service keeps; statuses and members of newer versions are welcome."""

    id: str
    slug: str
    name: str
    partner: str | None
    status: str
    plan: str
    seats: int
    created_at: Moment
    version: int


class CustomerProjection:
    """Keeps the newest state of every tenant. Any event that carries one is as good as any other."""

    def __init__(self, customers: CustomerRepository) -> None:
        self._customers = customers

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply an event of the tenant service.

        Raises:
            ValidationError: it carries a tenant's state in no known shape.
        """
        state = event.data.get("state")
        if state is None or not event.subject.startswith("tenants/"):
            return  # a refusal, or about something else than a tenant
        await self._customers.apply(Customer(**_TenantState.model_validate(state).model_dump()), tx)
