"""Events of browser sessions; the gateway owns them.

A session that nobody uses any more ends without an event: its bucket drops it at the idle limit.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Contract, Event, Moment

EndReason = Literal["signed_out", "signed_in_again", "provider_logout", "provider_refused", "expired"]


class SessionState(Contract):
    """A session as far as it may be told: neither its cookie nor its tokens follow from this.

    Attributes:
        id: names the session in events only.
        ends_at: when it ends at the latest, however much it is used.
    """

    id: str
    surface: Literal["operator", "portal"]
    person_id: str
    started_at: Moment
    ends_at: Moment


class SessionStarted(Event):
    type: ClassVar[str] = "session.started.v1"
    summary: ClassVar[str] = "Somebody signed in with a browser."

    state: SessionState


class SessionEnded(Event):
    """A session was ended before it ran out by itself.

    Attributes:
        reason: ``signed_out`` by the person; ``signed_in_again`` in the same browser; ``provider_logout``: the
            identity provider asked for it; ``provider_refused``: it does not renew the tokens any more;
            ``expired``: the absolute limit, noticed at the next use.
    """

    type: ClassVar[str] = "session.ended.v1"
    summary: ClassVar[str] = "A browser's session ended; its cookie opens nothing any more."

    state: SessionState
    reason: EndReason
