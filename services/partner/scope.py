"""Which partners a caller may see at all; what lies outside does not exist for them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.auth import Person


@dataclass(frozen=True, slots=True)
class Scope:
    """All partners, or the one named, or none."""

    everything: bool = False
    partner: str | None = None

    @classmethod
    def of(cls, person: Person) -> Scope:
        """Return the scope of a person: operators all, a partner's people their own, others nothing."""
        if person.is_operator:
            return EVERYTHING
        return cls(partner=person.partner.slug if person.partner else None)


EVERYTHING = Scope(everything=True)
