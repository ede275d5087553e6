"""Which facts of a batch erase a person, and by what that person is known in it: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.audit.models import Fact
from services.audit.personal import EMAIL, PERSON_OWNER
from shared.clock import parse_rfc3339

ERASED = "user.erased"


@dataclass(frozen=True, slots=True)
class Erasure:
    """That a person was erased, and when. It says nothing else of them, so it may be kept for ever."""

    person: str
    at: datetime

    @property
    def owner(self) -> str:
        """The person's name among the owners of boxes."""
        return PERSON_OWNER + self.person


@dataclass(frozen=True, slots=True)
class Destroyed:
    """Whose data keys a batch took away, and how many of unreadable messages."""

    owners: tuple[str, ...] = ()
    raw: int = 0

    def together_with(self, erasure: Erasure) -> int:
        """How many keys went with one erasure: all of them but those of other persons."""
        shared = [owner for owner in self.owners if not owner.startswith(PERSON_OWNER)]
        return self.owners.count(erasure.owner) + len(shared) + self.raw


def erasures_in(facts: Iterable[Fact]) -> list[Erasure]:
    """The erasures that these facts tell, one for each person, the first that comes.

    Only the tenant service can say it: what another one said under that name is `audit.unparsed`.
    """
    found: dict[str, Erasure] = {}
    for fact in facts:
        person = fact.fields["resourceId"]
        if fact.fields["action"] == ERASED and fact.fields["resourceType"] == "user" and person:
            found.setdefault(person, Erasure(person, parse_rfc3339(fact.fields["at"])))
    return list(found.values())


def addresses_of(owner: str, facts: Sequence[Fact]) -> set[str]:
    """The canonical e-mail addresses under which an owner acts in these facts, or that they say are the owner's."""
    theirs = [(fact, owned) for fact in facts for owned in fact.personal if owned.owner == owner]
    found = {owned.address or (fact.address if owned.pointer == EMAIL else None) for fact, owned in theirs}
    return {address for address in found if address is not None}


def handles_in(facts: Iterable[Fact]) -> set[str]:
    """Every canonical address by which these facts' owners may be known, or that a stranger mentions in them."""
    found: set[str | None] = set()
    for fact in facts:
        theirs = {owned.address or fact.handle for owned in fact.personal if owned.owner is None}
        found |= theirs
        if theirs:
            found |= set(fact.mentions)
    return {address for address in found if address is not None}
