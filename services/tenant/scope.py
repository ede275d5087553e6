"""Which tenants a caller may see at all; what lies outside does not exist for them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.auth import Person


@dataclass(frozen=True, slots=True)
class Scope:
    """All tenants, or those of one partner together with those named."""

    everything: bool = False
    partner: str | None = None
    tenants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, person: Person) -> Scope:
        """Return the scope of a person: operators all, partner people their customers, others their own."""
        if person.is_operator:
            return EVERYTHING
        partner = person.partner.slug if person.partner else None
        return cls(partner=partner, tenants=frozenset(person.tenants))

    @property
    def key(self) -> tuple[bool, str | None, frozenset[str]]:
        """What a cache of answers in this scope is keyed by."""
        return (self.everything, self.partner, self.tenants)


EVERYTHING = Scope(everything=True)
