"""What is personal in what only this service keeps: a pure function. The rest is in `shared/forgetting.py`."""

from __future__ import annotations

from typing import Any

from shared.contracts.envelope import personal_paths
from shared.contracts.registry import contract_for
from shared.forgetting import blank


def forget_billing(event_type: str, envelope_data: dict[str, Any], email: str) -> bool:
    """Take an address out of a tenant's event in which it is that of the billing contact."""
    contract = contract_for(event_type)
    found = False
    for path in [] if contract is None else personal_paths(contract):
        if "contact" in path:
            found |= blank(envelope_data, path, only=email.casefold())
    return found
