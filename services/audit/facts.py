"""From the bytes of a message to a fact, or to the fact that they could not be understood.

Nothing that arrives is lost: what is no event, claims a source that is not its own, has an unknown type or breaks
its contract becomes `audit.unparsed` with the raw bytes sealed inside, because bytes that nobody understands may
hold personal data.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import ValidationError

from services.audit.canonical import FORMAT_VERSION, NotCanonicalError, canonical_json
from services.audit.models import Fact, Owned, TenantPlace
from services.audit.personal import PERSON_OWNER, canonical_address, email_address, pointer_of
from shared.clock import rfc3339, to_milliseconds
from shared.contracts import CloudEvent, Event, contract_for, personal_paths
from shared.topology import owner_of
from shared.tracing import trace_id

UNPARSED = "audit.unparsed"
REASONS = (
    *("not_a_cloudevent", "subject_mismatch", "source_mismatch", "unknown_type", "contract_violation"),
    *("not_canonical", "reserved_name", "not_storable", "not_json", "not_an_event"),
)
"""Why something is chained as raw bytes; the last two are said of other systems' records."""
# No colon: `sha256:…` names what has no id of its own, and an event must not be able to take that name.
_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+){1,7}")
_ENVELOPE_ONLY = ("actor", "resource", "action", "outcome", "version", "state", "changes")

Path = tuple[str | int, ...]


class Unparseable(Exception):
    """The message cannot be chained as an event; `reason` is a stable code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def interpret(subject_type: str, payload: bytes, now: datetime) -> Fact:
    """The fact of a message; bad input is a fact, too. `subject_type` is the event type that the NATS subject names."""
    envelope: CloudEvent | None = None
    try:
        envelope = _envelope(payload)
        _check_source(subject_type, envelope)
        return _fact(envelope)
    except Unparseable as refusal:
        known = envelope if refusal.reason not in {"subject_mismatch", "source_mismatch"} else None
        return unparsed(subject_type, payload, now, refusal.reason, known)


def unparsed(subject_type: str, payload: bytes, now: datetime, reason: str, envelope: CloudEvent | None = None) -> Fact:
    """The fact that a message could not be understood; `envelope` only if its source is believed."""
    digest = "sha256:" + hashlib.sha256(subject_type.encode() + b"\0" + payload).hexdigest()
    entry_id = envelope.id if envelope else digest
    metadata: dict[str, Any] = {
        "subject": subject_type,
        "reason": reason,
        "raw": base64.b64encode(payload).decode(),
    }
    if _TYPE.fullmatch(subject_type):
        metadata["type"] = subject_type
    fields = {
        **EMPTY,
        "id": entry_id,
        "at": rfc3339(now),
        "actorType": "system",
        "action": UNPARSED,
        "outcome": "failure",
        "source": owner_of(subject_type) or "audit",
        "metadata": metadata,
    }
    return Fact(
        fields=fields,
        personal=(Owned("/metadata/raw", f"raw:{entry_id}"),),
        source_seq=envelope.sourceseq if envelope else None,
    )


EMPTY: dict[str, Any] = dict.fromkeys(
    (
        "actorId",
        "actorEmail",
        "actorIp",
        "surface",
        "resourceType",
        "resourceId",
        "resourceName",
        "tenantSlug",
        "partnerSlug",
    )
)


def _envelope(payload: bytes) -> CloudEvent:
    try:
        envelope = CloudEvent.model_validate_json(payload)
    except (ValidationError, RecursionError) as error:
        raise Unparseable("not_a_cloudevent") from error
    if not _EVENT_ID.fullmatch(envelope.id) or envelope.time.tzinfo is None:
        raise Unparseable("not_a_cloudevent")
    return envelope


def _check_source(subject_type: str, envelope: CloudEvent) -> None:
    # NATS lets a process publish only under its own subjects; what the envelope says must agree with that.
    if envelope.type != subject_type:
        raise Unparseable("subject_mismatch")
    if owner_of(envelope.type) != envelope.source:
        raise Unparseable("source_mismatch")


def _event(envelope: CloudEvent) -> Event:
    contract = contract_for(envelope.type)
    if contract is None:
        raise Unparseable("unknown_type")
    try:
        event = contract.model_validate(envelope.data)
    except ValidationError as error:
        raise Unparseable("contract_violation") from error
    if event.action != envelope.type.rsplit(".v", 1)[0]:
        raise Unparseable("contract_violation")
    return event


def _fact(envelope: CloudEvent) -> Fact:
    event = _event(envelope)
    metadata, unknown = _metadata(envelope, event)
    actor, resource = event.actor, event.resource
    fields = {
        "id": envelope.id,
        "at": _moment(envelope.time),
        "actorType": actor.type,
        "actorId": actor.id or None,
        "actorEmail": actor.email,
        "actorIp": actor.ip,
        "surface": actor.surface,
        "action": event.action,
        "outcome": event.outcome,
        "resourceType": resource.type,
        "resourceId": resource.id,
        "resourceName": resource.name,
        "tenantSlug": resource.tenant_slug,
        "partnerSlug": resource.partner_slug,
        "source": envelope.source,
        "metadata": metadata,
    }
    refuse_unstorable(fields)
    address = canonical_address(actor.email) if actor.email else actor.ip
    personal = tuple(_personal(event, fields, unknown))
    if groups := _addressed(personal, address):
        metadata["addressed"] = groups
    return Fact(
        fields=fields,
        personal=personal,
        address=address or None,
        source_seq=envelope.sourceseq,
        tenant=_tenant_place(event),
        traceparent=envelope.traceparent or "",
    )


def _moment(time: datetime) -> str:
    try:
        return rfc3339(to_milliseconds(time.astimezone(UTC)))
    except OverflowError as error:
        raise Unparseable("not_a_cloudevent") from error


def _metadata(envelope: CloudEvent, event: Event) -> tuple[dict[str, Any], list[Path]]:
    """What happened, and the paths in it of members that the contract does not know."""
    raw = envelope.data
    known = event.model_dump(mode="json", by_alias=True, exclude_unset=True)
    unknown: list[Path] = []
    metadata: dict[str, Any] = {"type": envelope.type, "subject": envelope.subject, "sourceSeq": envelope.sourceseq}
    if envelope.requestid:
        metadata["requestId"] = envelope.requestid
    # Its digits only: what is no trace could be anything, and this member is not sealed.
    if trace := trace_id(envelope.traceparent):
        metadata["traceId"] = trace
    if event.version is not None:
        metadata["version"] = event.version
    changes = _merge(raw.get("changes"), known.get("changes"), ("changes",), unknown)
    if isinstance(changes, dict):
        # A field that did not change may be absent or null.
        metadata["changes"] = {name: change for name, change in changes.items() if change is not None}
    elif raw.get("changes") is not None:
        metadata["changes"] = raw["changes"]
        unknown.append(("changes",))
    data: dict[str, Any] = {}
    for name in raw:
        if name in known and name not in _ENVELOPE_ONLY:
            data[name] = _merge(raw[name], known[name], ("data", name), unknown)
        elif name not in _ENVELOPE_ONLY:
            data[name] = raw[name]
            unknown.append(("data", name))
    if data:
        metadata["data"] = data
    return metadata, unknown


def _merge(raw: Any, known: Any, path: Path, unknown: list[Path]) -> Any:
    """`known` with the members of `raw` that it lacks; their paths are added to `unknown`."""
    if isinstance(raw, dict) and isinstance(known, dict):
        merged = dict(known)
        for name, item in raw.items():
            if name in known:
                merged[name] = _merge(item, known[name], (*path, name), unknown)
            else:
                merged[name] = item
                unknown.append((*path, name))
        return merged
    if isinstance(raw, list) and isinstance(known, list) and len(raw) == len(known):
        return [
            _merge(item, same, (*path, place), unknown)
            for place, (item, same) in enumerate(zip(raw, known, strict=True))
        ]
    return known


def refuse_unstorable(fields: Mapping[str, Any]) -> None:
    """Raise Unparseable for what the format or MongoDB has no place for."""
    try:
        canonical_json({"v": FORMAT_VERSION, **fields})
    except NotCanonicalError as error:
        raise Unparseable("not_canonical") from error
    for name in _names(fields["metadata"]):
        # `$` is how a commitment is told from a value; BSON ends a name at a NUL.
        if name.startswith("$") or "\0" in name:
            raise Unparseable("reserved_name")


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _personal(event: Event, fields: Mapping[str, Any], unknown: Sequence[Path]) -> Iterator[Owned]:
    """Every personal value that is there. Members that no contract knows count as personal: they might be."""
    subject = _resource_owner(event)
    found: list[Path] = []
    for pattern in _paths(type(event)):
        if pattern == ("actor", "email") and fields["actorEmail"] is not None:
            yield Owned("/actorEmail", _actor_owner(event))
        elif pattern == ("actor", "ip") and fields["actorIp"] is not None:
            yield Owned("/actorIp", _actor_owner(event))
        elif pattern == ("resource", "name") and fields["resourceName"] is not None:
            yield Owned("/resourceName", subject)
        elif pattern[0] == "changes" or pattern[0] not in _ENVELOPE_ONLY:
            inside = pattern if pattern[0] == "changes" else ("data", *pattern)
            found += _expand(fields["metadata"], inside, ())
    for path in unknown:
        inside_of_another = any(path[: len(outer)] == outer for outer in found)
        if not inside_of_another:
            found += _expand(fields["metadata"], tuple(path), ())
    for path in found:
        yield _owned_member(path, _at(fields["metadata"], path), subject)


def _owned_member(path: Path, value: Any, subject: str | None) -> Owned:
    """Whose a member of the metadata is: what is somebody's e-mail address is theirs, whoever the event is about."""
    pointer, address = pointer_of("metadata", *path), email_address(value)
    if address is None or subject is None:
        return Owned(pointer, subject)
    if subject.startswith(PERSON_OWNER):
        # Only what the identity provider says is theirs: a name that looks like an address may be another's.
        return Owned(pointer, subject, address if path[:2] == ("changes", "email") and len(path) == 3 else None)
    return Owned(pointer, None, address)


def _addressed(personal: Sequence[Owned], actor: str | None) -> list[list[str]]:
    """The pointers of each address in the metadata; those of the actor too, if it has the same address for its owner.

    Without this list nobody could tell after an erasure whose box a commitment was in.
    """
    groups: dict[str, list[str]] = {}
    for owned in personal:
        if owned.owner is None and owned.address is not None:
            groups.setdefault(owned.address, []).append(owned.pointer)
    if actor in groups:
        groups[actor] += [owned.pointer for owned in personal if owned.owner is None and owned.address is None]
    return list(groups.values())


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


@cache
def _paths(contract: type[Event]) -> tuple[tuple[str, ...], ...]:
    return tuple(personal_paths(contract))


def _expand(value: Any, pattern: Path, path: Path) -> Iterator[Path]:
    """The concrete paths of a pattern whose `*` stands for every element; null and absent values have none."""
    if value is None:
        return
    if not pattern:
        yield path
    elif isinstance(value, dict):
        for name in list(value) if pattern[0] == "*" else [pattern[0]]:
            yield from _expand(value.get(name), pattern[1:], (*path, name))
    elif isinstance(value, list):
        for place in range(len(value)) if pattern[0] == "*" else [pattern[0]]:
            if isinstance(place, int) and place < len(value):
                yield from _expand(value[place], pattern[1:], (*path, place))


def _actor_owner(event: Event) -> str | None:
    # The id of an external actor is a stranger's word, not a person of ours.
    return f"person:{event.actor.id}" if event.actor.id and event.actor.type != "external" else None


def _resource_owner(event: Event) -> str | None:
    resource = event.resource
    if resource.type == "user":
        return f"person:{resource.id}"
    # What a stranger did tells of the stranger: one owner for all of it, so that forgetting the address forgets it.
    return None if event.actor.type == "external" else f"resource:{resource.type}/{resource.id}"


def _tenant_place(event: Event) -> TenantPlace | None:
    resource = event.resource
    if resource.type != "tenant" or not resource.tenant_slug or event.version is None:
        return None
    return TenantPlace(resource.tenant_slug, resource.partner_slug, event.version)
