"""From a record of another system to a fact, or to the fact that it could not be understood.

Everything that a source says beside the kind of its event is one personal value, `metadata.data`: whom a member
concerns is not ours to know. All of it belongs to one address (docs/audit-format.md, section Owners): the actor's, or
where the actor has none, like the account under which the platform itself works, the first one that is mentioned.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from services.audit.canonical import MAX_INTEGER
from services.audit.facts import EMPTY, UNPARSED, Unparseable, refuse_unstorable
from services.audit.ingest.models import Record
from services.audit.models import Fact, Owned
from services.audit.personal import canonical_address, email_address
from shared.clock import parse_rfc3339, rfc3339

_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOT_A_WORD = re.compile(r"[^a-z0-9_]")
_LONGEST_ADDRESS = 320
_FAILED = re.compile(r"fail|error|exception|does-not-exist|too-many")
_DENIED = re.compile(r"^(security|limit)\.|banned|rejected|unauthorized|suspicious")


@dataclass(frozen=True, slots=True)
class Said:
    """What the three sources have in common."""

    kind: str
    at: str
    address: str | None
    ip: str | None


def read(record: Record) -> Fact:
    """The fact of a record; one that cannot be understood becomes `audit.unparsed` with its bytes sealed inside."""
    try:
        members = parse_object(record.body)
        _leave_out_the_deleted(record, members)
        return _fact(record, _said(record, members), members)
    except Unparseable as refusal:
        return unparsed(record, refusal.reason)


def unparsed(record: Record, reason: str) -> Fact:
    """The fact that a record could not be understood, or not be stored."""
    metadata = {"subject": record.source, "reason": reason, "raw": base64.b64encode(record.body).decode()}
    fields = {
        **EMPTY,
        "id": record.id,
        "at": rfc3339(record.received),
        "actorType": "system",
        "action": UNPARSED,
        "outcome": "failure",
        "source": record.source,
        "metadata": metadata,
    }
    return Fact(fields=fields, personal=(Owned("/metadata/raw", f"raw:{record.id}"),))


def parse_object(body: bytes) -> dict[str, Any]:
    """The object in a JSON text; numbers that the format has no place for are kept as their text.

    Raises:
        Unparseable: `not_json`; also for a member that appears twice, because readers would disagree about it.
    """
    try:
        value = json.loads(
            body, parse_float=str, parse_int=_integer, parse_constant=_no_constant, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError) as error:
        raise Unparseable("not_json") from error
    if not isinstance(value, dict):
        raise Unparseable("not_json")
    return value


def _integer(literal: str) -> int | str:
    # Python refuses to read thousands of digits, and the format ends at 2^53 - 1.
    return literal if len(literal) > 17 or abs(int(literal)) > MAX_INTEGER else int(literal)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _fact(record: Record, said: Said, members: dict[str, Any]) -> Fact:
    metadata = {"type": said.kind, "received": rfc3339(record.received), "data": members}
    fields = {
        **EMPTY,
        "id": record.id,
        "at": said.at,
        "actorType": "external",
        "actorEmail": said.address,
        "actorIp": said.ip,
        "action": action_of(record.source, said.kind),
        "outcome": outcome_of(said.kind),
        "source": record.source,
        "metadata": metadata,
    }
    refuse_unstorable(fields)
    there = [("/actorEmail", said.address), ("/actorIp", said.ip), ("/metadata/data", metadata["data"])]
    address = canonical_address(said.address) if said.address else said.ip
    mentions = tuple(dict.fromkeys(_mentioned([said.address, members])))
    return Fact(
        fields=fields,
        personal=tuple(Owned(pointer, None) for pointer, value in there if value is not None),
        # Who names nobody shares one owner: a key for each of a million such lines would protect nobody.
        address=address or record.source,
        about=None if email_address(said.address) else next(iter(mentions), None),
        mentions=mentions,
    )


def _mentioned(value: Any) -> Iterator[str]:
    """The canonical form of every e-mail address that is a value of its own, in the order of the record."""
    if isinstance(value, str):
        if address := email_address(value):
            yield address
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _mentioned(item)


def action_of(source: str, kind: str) -> str:
    """`auth.failed` of stalwart → `stalwart.auth_failed`: a source's own words, made to fit the grammar of actions."""
    return f"{source}.{_NOT_A_WORD.sub('_', kind.lower())}"


def outcome_of(kind: str) -> str:
    """`denied` for what was kept out, `failure` for what went wrong, else `success`."""
    words = kind.lower().replace("_", "-")
    if _DENIED.search(words):
        return "denied"
    return "failure" if _FAILED.search(words) else "success"


def _said(record: Record, members: dict[str, Any]) -> Said:
    if record.source == "authentik":
        return _of_authentik(members)
    if record.source == "stalwart":
        return _of_stalwart(members)
    return _of_ocis(members, record.received)


def _leave_out_the_deleted(record: Record, members: dict[str, Any]) -> None:
    """Take the name of an account that is gone out of what Authentik says of its end; the number says which it was.

    It is said after the erasure that asked for it, when nothing is left that would forget it once more.
    """
    if record.source == "authentik" and members.get("action") == "model_deleted":
        model = _object(_object(members.get("context")).get("model"))
        if isinstance(model, dict) and model.get("model_name") == "user" and "name" in model:
            model["name"] = None


def _of_authentik(event: Mapping[str, Any]) -> Said:
    user, context = _object(event.get("user")), _object(event.get("context"))
    # A sign-in that failed is nobody's: the name that was tried stands in the context.
    names = [user.get("email"), None if user.get("is_anonymous") else user.get("username"), context.get("username")]
    return Said(
        _kind(event.get("action")), _moment(event.get("created")), _address(*names), _ip(event.get("client_ip"))
    )


def _of_stalwart(event: Mapping[str, Any]) -> Said:
    detail = _object(event.get("data"))
    address = _address(detail.get("accountName"), detail.get("from"))
    return Said(_kind(event.get("type")), _moment(event.get("createdAt")), address, _ip(detail.get("remoteIp")))


def _of_ocis(line: Mapping[str, Any], read_at: datetime) -> Said:
    try:
        at = _moment(line.get("Time"))
    except Unparseable:  # often empty: then it happened before it was read, and not long before
        at = rfc3339(read_at)
    address = _address(*(line.get(name) for name in ("User", "Owner", "UserID", "ShareWith")))
    return Said(_kind(line.get("Action")), at, address, _ip(line.get("RemoteAddr")))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _kind(value: Any) -> str:
    if not isinstance(value, str) or not _KIND.fullmatch(value):
        raise Unparseable("not_an_event")
    return value


def _moment(value: Any) -> str:
    try:
        return rfc3339(parse_rfc3339(value))
    except (ValueError, TypeError) as error:
        raise Unparseable("not_an_event") from error


def _address(*candidates: Any) -> str | None:
    """The first that can be the name of somebody, an e-mail address before any other name."""
    names = [name.strip() for name in candidates if isinstance(name, str) and 0 < len(name.strip()) <= _LONGEST_ADDRESS]
    return next((name for name in names if "@" in name), names[0] if names else None)


def _ip(value: Any) -> str | None:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else None
    except ValueError:
        return None
