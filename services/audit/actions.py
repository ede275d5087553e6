"""The words that entries are found by: what may be asked for as `action`, and what is a slip of the pen."""

from __future__ import annotations

from functools import cache

from services.audit.facts import UNPARSED
from services.audit.models import action_terms
from shared.contracts import contracts

OUTSIDE = frozenset({"authentik", "stalwart", "ocis"})
"""Sources beside the platform's own services: their actions are their own words, of which there is no list."""


def may_be_met(action: str) -> bool:
    """Whether an entry may be found by this: an action of an event that the platform knows, or a word above one."""
    return action.split(".", 1)[0] in OUTSIDE or action in _known()


@cache
def _known() -> frozenset[str]:
    actions = [contract.type.rpartition(".")[0] for contract in contracts()]
    return frozenset(term for action in (*actions, UNPARSED) for term in action_terms(action))
