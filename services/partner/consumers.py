"""What this service hears of tenants: the projection of partners' customers."""

from __future__ import annotations

from services.partner.repository import CustomerRepository, CustomerState
from shared.contracts.envelope import CloudEvent
from shared.mongo import Transaction

CONSUMER = "partner-tenants"


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
        await self._customers.apply(CustomerState.model_validate(state), tx)
