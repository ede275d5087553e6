"""Evaluating a feature flag for a tenant: pure, local, the same everywhere. ``docs/flag-buckets.md`` publishes it.

A flag is off, on, targeted at a scope, or rolled out to a percentage of a scope. The bucket of a tenant hangs on its
immutable id and the flag's key, so raising the percentage only adds tenants, and two flags roll out independently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FlagStatus = Literal["off", "on", "targeted", "rollout"]
Reason = Literal["DISABLED", "STATIC", "TARGETING_MATCH", "SPLIT", "DEFAULT"]

BUCKETS = 100


@dataclass(frozen=True, slots=True)
class FlagScope:
    """Whom a flag is for: an empty axis does not narrow, a filled one must hold the tenant's value."""

    plans: frozenset[str] = frozenset()
    tenant_slugs: frozenset[str] = frozenset()
    partner_slugs: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.plans or self.tenant_slugs or self.partner_slugs or self.environments)


@dataclass(frozen=True, slots=True)
class FlagRule:
    """What evaluation needs of a flag; ``pct`` counts in ``rollout`` only."""

    key: str
    state: FlagStatus = "off"
    pct: int = 0
    scope: FlagScope = FlagScope()


@dataclass(frozen=True, slots=True)
class FlagSubject:
    """Whom a flag is evaluated for. ``environment`` is the deployment's own, never the caller's word."""

    tenant_id: str
    tenant_slug: str
    plan: str
    partner_slug: str | None
    environment: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The value and why; ``bucket`` is set where it decided."""

    value: bool
    reason: Reason
    bucket: int | None = None


def bucket_of(tenant_id: str, key: str) -> int:
    """Return the bucket, 0 to 99: SHA-256 of ``{tenantId}:{key}`` as one big-endian unsigned integer, modulo 100."""
    digest = hashlib.sha256(f"{tenant_id}:{key}".encode()).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def matches(scope: FlagScope, subject: FlagSubject) -> bool:
    """Tell whether every axis that is filled holds the subject's value; an empty scope matches everybody."""
    return (
        (not scope.plans or subject.plan in scope.plans)
        and (not scope.tenant_slugs or subject.tenant_slug in scope.tenant_slugs)
        and (not scope.partner_slugs or subject.partner_slug in scope.partner_slugs)
        and (not scope.environments or subject.environment in scope.environments)
    )


def evaluate(flag: FlagRule, subject: FlagSubject) -> Verdict:
    """Return the flag's value for a subject.

    off: false. on: true. targeted: an empty scope means nobody, otherwise every filled axis must match. rollout:
    the scope must match if there is one, then the bucket must be below ``pct``.
    """
    if flag.state == "off":
        return Verdict(value=False, reason="DISABLED")
    if flag.state == "on":
        return Verdict(value=True, reason="STATIC")
    if flag.state == "targeted":
        hit = not flag.scope.is_empty and matches(flag.scope, subject)
        return Verdict(value=hit, reason="TARGETING_MATCH" if hit else "DEFAULT")
    if not matches(flag.scope, subject):
        return Verdict(value=False, reason="DEFAULT")
    bucket = bucket_of(subject.tenant_id, flag.key)
    return Verdict(value=bucket < flag.pct, reason="SPLIT", bucket=bucket)


class FlagSet:
    """The flags that a process knows, kept by ``flag.*`` events; the last known state answers while NATS is away."""

    def __init__(self) -> None:
        self._flags: dict[str, tuple[int, FlagRule | None]] = {}

    def put(self, key: str, version: int, rule: FlagRule | None) -> bool:
        """Take over a flag at a version (None: deleted); False when a newer one is known already."""
        known = self._flags.get(key)
        if known is not None and known[0] >= version:
            return False
        self._flags[key] = (version, rule)
        return True

    def is_on(self, key: str, subject: FlagSubject) -> bool:
        """Return the flag's value; a flag that is not known is off."""
        _, rule = self._flags.get(key, (0, None))
        return rule is not None and evaluate(rule, subject).value

    def evaluate_all(self, subject: FlagSubject) -> dict[str, bool]:
        """Return every known flag's value by key, sorted."""
        known: Mapping[str, tuple[int, FlagRule | None]] = self._flags
        return {key: evaluate(rule, subject).value for key in sorted(known) if (rule := known[key][1]) is not None}
