"""What this service hears: of tenants and their subscriptions, for the projection; and the answer to a termination."""

from __future__ import annotations

from services.partner.customers.models import (
    cut_in,
    provisioning_part,
    subscription_part,
    tenant_part,
    usage_part,
)
from services.partner.customers.repository import CustomerRepository, Heard
from services.partner.terminations import Terminations
from shared.contracts.billing import SubscriptionState
from shared.contracts.envelope import Change, CloudEvent
from shared.contracts.tenant import (
    ProvisioningState,
    TenantPartnerAnswered,
    TenantProvisioningChanged,
    TenantUsageChanged,
    UsageState,
    tenant_state_of,
)
from shared.mongo import Transaction

TENANTS = "partner-tenants"
SUBSCRIPTIONS = "partner-subscriptions"


class TenantEvents:
    """Keeps the newest state of every tenant. Any event that carries one is as good as any other."""

    def __init__(self, customers: CustomerRepository, terminations: Terminations) -> None:
        self._customers = customers
        self._terminations = terminations

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply an event of the tenant service; a refusal, and what is about people, says nothing here.

        Raises:
            ValidationError: it carries a state in no known shape.
        """
        match event.type:
            case TenantPartnerAnswered.type:
                answer = TenantPartnerAnswered.model_validate(event.data)
                await self._terminations.answered(answer.partner, answer.partner_version, answer.customers, tx)
            case TenantUsageChanged.type:
                usage = UsageState.model_validate(event.data["state"])
                await self._customers.apply(Heard(usage.tenant_id, usage_part(usage), event.time), tx)
            case TenantProvisioningChanged.type:
                state = ProvisioningState.model_validate(event.data["state"])
                await self._customers.apply(Heard(state.tenant_id, provisioning_part(state), event.time), tx)
            case _:
                await self._follow(event, tx)

    async def _follow(self, event: CloudEvent, tx: Transaction) -> None:
        state = tenant_state_of(event)
        if state is None:
            return
        seats = (event.data.get("changes") or {}).get("seats")
        cut = None if seats is None else cut_in(state, Change[int].model_validate(seats))
        await self._customers.apply(Heard(state.id, tenant_part(state), event.time, cut), tx)


class SubscriptionEvents:
    """Keeps what billing says of every tenant's subscription."""

    def __init__(self, customers: CustomerRepository) -> None:
        self._customers = customers

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``subscription.*`` event."""
        if "state" in event.data:
            state = SubscriptionState.model_validate(event.data["state"])
            await self._customers.apply(Heard(state.tenant_id, subscription_part(state), event.time), tx)
