"""Taking people who were erased out of the dead letters, for as long as one of their events may still die.

That somebody was erased is recorded in the transaction that claims ``user.erased.v1``; the stream is a remote, so it is
walked outside of it, and again until the stream of events has forgotten whatever was said before the erasure. Each
walk looks at what was buried since the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import orjson
import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from services.health.dead_letters import DeadLetters, Letter
from services.health.repository import ErasureRepository
from shared.bus import BusUnavailable
from shared.clock import Clock
from shared.contracts.envelope import CloudEvent, Event, personal_paths
from shared.contracts.registry import contract_for
from shared.contracts.user import UserErased
from shared.forgetting import blank, forget_in_event
from shared.leases import Lease
from shared.mongo import Transaction
from shared.stored import StoredMeanwhile
from shared.topology import EVENT_AGE

log = structlog.get_logger()

ROUND_SECONDS = 2.0
MOST_LETTERS = 100
"""Letters looked at between two renewals of the lease."""
# An event that was pulled on the last day of its life is buried a little later, at most after an outage.
WATCHED = EVENT_AGE + timedelta(days=1)

_forgotten = Counter("dezky_dead_letters_forgotten_total", "Dead letters that named an erased person", ["how"])


class DeadLetterWalk:
    """Walks the dead letters in one replica at a time."""

    def __init__(self, letters: DeadLetters, people: ErasureRepository, lease: Lease, clock: Clock) -> None:
        self._letters = letters
        self._people = people
        self._lease = lease
        self._clock = clock

    async def heard(self, event: CloudEvent, tx: Transaction) -> None:
        """Record that a person was erased; the walk does the rest."""
        await self._people.add(UserErased.model_validate(event.data).resource.id, event.time, tx)

    async def run(self) -> None:
        """Walk whenever there is something to look at, until cancelled."""
        try:
            while True:
                await self._lease.hold()
                try:
                    more = await self.step()
                except (BusUnavailable, StoredMeanwhile) as error:
                    log.info("dead_letters.walk_interrupted", error=type(error).__name__)
                    more = False
                if not more:
                    await asyncio.sleep(ROUND_SECONDS)
        finally:
            await self._lease.release()

    async def step(self) -> bool:
        """Look at the next letters; return whether there may be more of them now.

        Raises:
            BusUnavailable, StoredMeanwhile: then the same letters are looked at again.
        """
        people = await self._people.all()
        if not people:
            return False
        last = await self._letters.last()
        # A stream that is shorter than what was seen of it is another one: it was made anew.
        seen = {each.person: each.after if each.after <= last else 0 for each in people}
        reached, more = await self._look_from(min(seen.values()), seen, last)
        await self._people.looked(people, {person: max(after, reached) for person, after in seen.items()})
        if not more:
            await self._people.forget_before(self._clock.now() - WATCHED)
        return more

    async def _look_from(self, reached: int, seen: dict[str, int], last: int) -> tuple[int, bool]:
        for _ in range(MOST_LETTERS):
            letter = await self._letters.after(reached) if reached < last else None
            if letter is None:
                return max(reached, last), False
            await self._look(letter, [person for person, after in seen.items() if after < letter.seq])
            reached = letter.seq
        return reached, True

    async def _look(self, letter: Letter, people: Sequence[str]) -> None:
        payload = without(letter.payload, people)
        if payload is None:
            await self._letters.remove(letter.seq)
            _forgotten.labels("removed").inc()
            log.warning("dead_letters.removed", subject=letter.subject, seq=letter.seq)
        elif payload != letter.payload:
            await self._replace(letter, payload)
            _forgotten.labels("blanked").inc()

    async def _replace(self, letter: Letter, payload: bytes) -> None:
        """Bury a copy, then delete the letter. Between the two there are both, and a repetition finds the copy.

        The copy is stored only if the subject holds what it held when the copy was looked for, so a replica that has
        lost its lease without knowing cannot store a second one.
        """
        newest = await self._letters.newest(letter.subject)
        first = await self._people.begin(letter.seq, self._clock.now())
        if first or not await self._has_copy(letter):
            await self._letters.replace(letter, payload, newest)
        await self._letters.remove(letter.seq)
        await self._people.done(letter.seq)

    async def _has_copy(self, letter: Letter) -> bool:
        later = await self._letters.after(letter.seq, letter.subject)
        while later is not None and later.id != letter.copy_id:
            later = await self._letters.after(later.seq, letter.subject)
        return later is not None


def without(payload: bytes, people: Collection[str]) -> bytes | None:
    """Return an event without what is personal of ``people``, the same bytes where it names none of them.

    None stands for what must go whole: it is no event that is understood here, and it holds the id of one of them.
    """
    event = _understood(payload)
    if event is None:
        return None if any(person.encode() in payload for person in people) else payload
    acted = event.actor.id if event.actor.type == "user" else None
    named = {acted, event.resource.id if event.resource.type in {"user", "person"} else None} & set(people)
    if not named:
        return payload
    document = orjson.loads(payload)
    # Members that no contract knows are left out: they might be personal.
    known = event.model_dump(mode="json", by_alias=True, exclude_unset=True)
    changed = _has_more(document["data"], known)
    for person in named:
        changed |= forget_in_event(event.type, known, str(person))
    if acted in named and event.actor.email is not None:
        for path in personal_paths(type(event)):
            changed |= blank(known, path, only=event.actor.email.casefold())
    return orjson.dumps({**document, "data": known}) if changed else payload


def _understood(payload: bytes) -> Event | None:
    try:
        envelope = CloudEvent.model_validate_json(payload)
        contract = contract_for(envelope.type)
        return None if contract is None else contract.model_validate(envelope.data)
    except (ValidationError, RecursionError):
        return None


def _has_more(raw: Any, known: Any) -> bool:
    """Whether ``raw`` has members that ``known`` has not, at any depth."""
    if isinstance(raw, dict) and isinstance(known, dict):
        return any(name not in known or _has_more(item, known[name]) for name, item in raw.items())
    if isinstance(raw, list) and isinstance(known, list):
        return any(_has_more(item, same) for item, same in zip(raw, known, strict=False))
    return False
