"""Event types: a module per publishing service. ``docs/events.md`` is generated from here.

Types are past tense and versioned. Within a version fields may be added; a meaning never changes.
"""

from shared.contracts.envelope import (
    Actor,
    Change,
    CloudEvent,
    Event,
    Outcome,
    Personal,
    Resource,
    personal_paths,
)
from shared.contracts.registry import contract_for, contracts

__all__ = [
    "Actor",
    "Change",
    "CloudEvent",
    "Event",
    "Outcome",
    "Personal",
    "Resource",
    "contract_for",
    "contracts",
    "personal_paths",
]
