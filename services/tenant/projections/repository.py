"""The projections of partners and of the catalog, in generations."""

from __future__ import annotations

from services.tenant.models import NoPriceForPlan, PartnerNotActive
from shared.contracts.billing import PriceState
from shared.contracts.partner import PartnerState
from shared.errors import FieldError
from shared.mongo import Document, Index, Transaction
from shared.projections.generations import Projection
from shared.projections.models import ProjectionSpec


def _partner_row(state: PartnerState) -> Document:
    return {
        "_id": state.slug,
        "slug": state.slug,
        "name": state.name,
        "status": state.status,
        "version": state.version,
    }


def _price_row(state: PriceState) -> Document:
    return {
        "_id": state.id,
        "plan": state.plan,
        "cycle": state.cycle,
        "currencies": sorted(state.amounts),
        "archived": state.archived,
        "version": state.version,
    }


PARTNERS = ProjectionSpec(
    name="partners",
    owner="partner",
    snapshot="partners",
    consumer="tenant-partners",
    contract=PartnerState,
    row=_partner_row,
)
PRICES = ProjectionSpec(
    name="prices",
    owner="billing",
    snapshot="prices",
    consumer="tenant-prices",
    contract=PriceState,
    row=_price_row,
    indexes=[Index([("plan", 1), ("cycle", 1)])],
)


class PartnerProjection(Projection[PartnerState]):
    """The projection ``partners``, from ``partner.*`` events."""

    spec = PARTNERS

    async def require_active(self, slug: str, tx: Transaction) -> None:
        """Bind ``tx`` to the partner being active: a termination that is learned meanwhile conflicts with it.

        Raises:
            PartnerNotActive: it is not, or nothing is known of it.
        """
        # In the generation that is current for this transaction: whoever applies a termination writes it, too,
        # because a generation is written for longer than a transaction may last after it was the current one.
        partners = await self.generations.current(tx)
        active = {"_id": slug, "status": "active"}
        result = await partners.update_one(active, {"$inc": {"tenants_made": 1}}, session=tx)
        if result.matched_count == 0:
            raise PartnerNotActive(f"the partner {slug!r} is not active")

    async def is_terminating(self, slug: str, version: int, tx: Transaction) -> bool:
        """Tell whether exactly this version of a partner is the newest known, and being terminated."""
        row = {"_id": slug, "version": version, "status": "terminating"}
        partners = await self.generations.current(tx)
        return await partners.find_one(row, {"_id": 1}, session=tx) is not None

    async def find(self, slug: str) -> dict[str, str] | None:
        """Return ``{slug, name, status}`` of a partner."""
        partners = await self.generations.current()
        return await partners.find_one({"_id": slug}, {"_id": 0, "slug": 1, "name": 1, "status": 1})


class PriceProjection(Projection[PriceState]):
    """The projection ``prices``, from ``price.*`` events."""

    spec = PRICES

    async def require(self, plan: str, cycle: str, currency: str, tx: Transaction) -> None:
        """Refuse what the catalog does not sell.

        Raises:
            NoPriceForPlan: no price that is not archived for plan and cycle, or none in this currency.
        """
        prices = await self.generations.current(tx)
        sold = {"plan": plan, "cycle": cycle, "currencies": currency, "archived": False}
        if await prices.find_one(sold, {"_id": 1}, session=tx) is None:
            message = f"the catalog has no price for {plan!r} per {cycle} in {currency}: choose from GET /api/prices"
            raise NoPriceForPlan(message, errors=[FieldError("plan", "no_price_for_plan", message)])
