"""What this service hears: of tenants and their subscriptions, for the projection; and the answer to a termination."""

from __future__ import annotations

from services.partner.customers.models import cut_in
from services.partner.standings.service import Projections, Standings
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

    def __init__(self, projections: Projections, standings: Standings, terminations: Terminations) -> None:
        self._projections = projections
        self._standings = standings
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
                await self._projections.usage.apply(usage, tx)
                await self._standings.renew(usage.tenant_id, event.time, tx)
            case TenantProvisioningChanged.type:
                state = ProvisioningState.model_validate(event.data["state"])
                await self._projections.provisioning.apply(state, tx)
                await self._standings.renew(state.tenant_id, event.time, tx)
            case _:
                await self._follow(event, tx)

    async def _follow(self, event: CloudEvent, tx: Transaction) -> None:
        state = tenant_state_of(event)
        if state is None:
            return
        seats = (event.data.get("changes") or {}).get("seats")
        cut = None if seats is None else cut_in(state, Change[int].model_validate(seats))
        await self._projections.customers.apply(state, tx)
        await self._standings.renew(state.id, event.time, tx, cut)


class SubscriptionEvents:
    """Keeps what billing says of every tenant's subscription."""

    def __init__(self, projections: Projections, standings: Standings) -> None:
        self._projections = projections
        self._standings = standings

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``subscription.*`` event."""
        if "state" in event.data:
            state = SubscriptionState.model_validate(event.data["state"])
            await self._projections.subscriptions.apply(state, tx)
            await self._standings.renew(state.tenant_id, event.time, tx)
