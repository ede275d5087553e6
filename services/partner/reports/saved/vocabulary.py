"""The words of a saved report (``docs/partner-reports.md``): a closed list, no language of expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, model_validator

from services.partner.standings.health import Level
from shared.contracts.billing import SubscriptionStatus
from shared.contracts.tenant import Cycle, TenantStatus
from shared.schemas import Input

MAX_ROWS = 1_000

Month = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
PlanKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]

CustomerGroup = Literal["plan", "status", "health", "signupMonth"]
CustomerMeasure = Literal["customers", "seats", "seatsUsed"]
SubscriptionGroup = Literal["plan", "cycle", "currency", "status", "startMonth"]
SubscriptionMeasure = Literal["subscriptions", "seats", "arr", "mrr"]


def _once(words: list[str]) -> list[str]:
    if len(set(words)) != len(words):
        raise ValueError("names each word once")
    return words


Once = AfterValidator(_once)
Words = Field(min_length=1, max_length=20)


class Range(Input):
    """Months (UTC), both included."""

    first: Annotated[Month, Field(alias="from")]
    last: Annotated[Month, Field(alias="to")]

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.first > self.last:
            raise ValueError("begins with the earlier month")
        return self


class CustomerFilters(Input):
    """Each keeps those with one of the values; absent keeps all, of ``status`` all that are not leaving."""

    plan: Annotated[list[PlanKey], Words, Once] | None = None
    status: Annotated[list[TenantStatus], Words, Once] | None = None
    health: Annotated[list[Level], Words, Once] | None = None


class SubscriptionFilters(Input):
    """Each keeps those with one of the values; absent keeps all, of ``status`` all that are not over."""

    plan: Annotated[list[PlanKey], Words, Once] | None = None
    cycle: Annotated[list[Cycle], Words, Once] | None = None
    currency: Annotated[list[Currency], Words, Once] | None = None
    status: Annotated[list[SubscriptionStatus], Words, Once] | None = None


class CustomersDefinition(Input):
    """Customers; ``range`` is of their months of signup."""

    dataset: Literal["customers"]
    group_by: Annotated[list[CustomerGroup], Field(max_length=2), Once] = Field(default_factory=list)
    measures: Annotated[list[CustomerMeasure], Field(min_length=1, max_length=3), Once]
    filters: CustomerFilters = Field(default_factory=CustomerFilters)
    range: Range | None = None


class SubscriptionsDefinition(Input):
    """Subscriptions; ``range`` is of the months in which they started."""

    dataset: Literal["subscriptions"]
    group_by: Annotated[list[SubscriptionGroup], Field(max_length=2), Once] = Field(default_factory=list)
    measures: Annotated[list[SubscriptionMeasure], Field(min_length=1, max_length=4), Once]
    filters: SubscriptionFilters = Field(default_factory=SubscriptionFilters)
    range: Range | None = None

    @model_validator(mode="after")
    def _one_currency(self) -> SubscriptionsDefinition:
        money = {"arr", "mrr"} & set(self.measures)
        apart = "currency" in self.group_by or len(self.filters.currency or ()) == 1
        if money and not apart:
            raise ValueError("currencies are never added up: group by currency, or filter to one")
        return self


Definition = Annotated[CustomersDefinition | SubscriptionsDefinition, Field(discriminator="dataset")]
_DEFINITION: TypeAdapter[CustomersDefinition | SubscriptionsDefinition] = TypeAdapter(Definition)


def parse_definition(kept: object) -> CustomersDefinition | SubscriptionsDefinition:
    """Return a definition as it was kept, checked again: what is in the database is no more trusted than a request."""
    return _DEFINITION.validate_python(kept)


def columns_of(definition: CustomersDefinition | SubscriptionsDefinition) -> Sequence[str]:
    """Return the names of the columns: the groups, then the measures."""
    return [*definition.group_by, *definition.measures]
