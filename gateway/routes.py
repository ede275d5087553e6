"""The route table, as data: which service answers a path, to whom, and within which limits.

The longest pattern wins, segment by segment, so ``/api/partners/{slug}/tenants`` may live in another service
than ``/api/partners/{slug}``. A pattern covers itself and everything below it. The service sees the path as the
client sent it. ``/internal`` and the operational paths of the services are in no row, so nothing reaches them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Surface = Literal["operator", "portal"]
RateClass = Literal["standard", "public", "webhook"]

BOTH: Final[frozenset[Surface]] = frozenset({"operator", "portal"})
OPERATOR: Final[frozenset[Surface]] = frozenset({"operator"})

KIB: Final = 1024
MIB: Final = 1024 * KIB

_REMEMBERED = 4_096
_REMEMBERED_LENGTH = 256

_PLACEHOLDER = re.compile(r"\{[a-z]+\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One row.

    Attributes:
        pattern: path prefix; ``{slug}`` stands for any one segment. Also the route's name in logs and metrics.
        surfaces: where a token must come from. None: no token is asked for or passed on.
        body_limit: bytes of request body.
        timeout: seconds until the whole answer must have arrived; a stream is exempt once it started.
        rate: class of the rate limit.
    """

    pattern: str
    service: str
    surfaces: frozenset[Surface] | None = BOTH
    body_limit: int = 1 * MIB
    timeout: float = 15.0
    rate: RateClass = "standard"

    @property
    def public(self) -> bool:
        """Whether anybody may call it, without a token."""
        return self.surfaces is None


ROUTES: Final[tuple[Route, ...]] = (
    Route("/api/tenants", "tenant"),
    Route("/api/tenants/{slug}/audit", "audit"),
    Route("/api/tenants/{slug}/billing", "billing"),
    Route("/api/partners", "partner"),
    Route("/api/partners/{slug}/tenants", "tenant"),
    Route("/api/partners/{slug}/users", "tenant"),
    # A partner asks for a tenant that is not its own, so the path cannot be the tenant's.
    Route("/api/partners/{slug}/transfers", "tenant"),
    Route("/api/partners/{slug}/audit", "audit"),
    Route("/api/partners/{slug}/billing", "billing"),
    Route("/api/partners/{slug}/reports", "partner", timeout=30.0),
    Route("/api/users", "tenant", OPERATOR),
    # Whoever may invite may also make a new credential for whom they invited.
    Route("/api/users/{person}/resend-invite", "tenant"),
    Route("/api/me", "tenant"),
    Route("/api/prices", "billing"),
    Route("/api/billing", "billing", timeout=30.0),
    Route("/api/flags", "flags"),
    Route("/api/ofrep", "flags"),
    # A verification reads the whole chain.
    Route("/api/audit", "audit", OPERATOR, timeout=300.0),
    Route("/api/health", "health", OPERATOR),
    Route("/health", "health", None, body_limit=0, timeout=5.0, rate="public"),
    Route("/webhooks/stripe", "billing", None, rate="webhook"),
    Route("/webhooks/stalwart", "audit", None, rate="webhook"),
)


@dataclass(slots=True)
class _Node:
    route: Route | None = None
    literal: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None

    def steps(self, segment: str) -> Iterator[_Node]:
        """Yield the nodes that one more segment leads to, the more specific first."""
        if (exact := self.literal.get(segment)) is not None:
            yield exact
        if self.any is not None and segment:
            yield self.any


class RouteTable:
    """Finds the row for a path: in time proportional to its segments, and by one look-up the next time."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        self._found: dict[str, Route] = {}
        for route in self.routes:
            self._insert(route)

    def _insert(self, route: Route) -> None:
        node = self._root
        for segment in route.pattern.strip("/").split("/"):
            if _PLACEHOLDER.fullmatch(segment):
                node.any = node = node.any or _Node()
            else:
                node = node.literal.setdefault(segment, _Node())
        if node.route is not None:
            raise ValueError(f"two rows for {route.pattern}")
        node.route = route

    def match(self, path: str) -> Route | None:
        """Return the row with the longest pattern that covers ``path`` (decoded), or None."""
        found = self._found.get(path)
        if found is None:
            found = self._search(path)
            if found is not None and len(path) <= _REMEMBERED_LENGTH:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[path] = found
        return found

    def _search(self, path: str) -> Route | None:
        found: Route | None = None
        nodes = [self._root]
        for segment in path.split("/")[1:]:
            nodes = [step for node in nodes for step in node.steps(segment)]
            if not nodes:
                break
            # A literal stands before a placeholder of the same length.
            found = next((node.route for node in nodes if node.route is not None), found)
        return found
