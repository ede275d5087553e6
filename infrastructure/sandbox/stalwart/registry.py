"""x:<Object>/get, set and query (RFC 8620 sections 5.1, 5.3, 5.5), the same for every object."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from infrastructure.sandbox.kit import transaction
from infrastructure.sandbox.stalwart.accounts import Accounts, check_account, check_groups
from infrastructure.sandbox.stalwart.callers import Caller, digest
from infrastructure.sandbox.stalwart.destruction import Destruction
from infrastructure.sandbox.stalwart.errors import MethodError, SetError, invalid_patch
from infrastructure.sandbox.stalwart.kinds import KINDS, MASK, Kind, masked, matches, unmasked
from infrastructure.sandbox.stalwart.objects import Draft, Objects, Stored, number_id, text_id
from infrastructure.sandbox.stalwart.patches import patched
from infrastructure.sandbox.stalwart.references import Created, resolved
from infrastructure.sandbox.stalwart.seed import Limits
from infrastructure.sandbox.stalwart.shapes import Problems

Body = dict[str, Any]
# The original does not track the states of managed objects.
STATE = "n"
API_KEYS_OF_AN_ACCOUNT = 5


@dataclass
class Outcome:
    """What a set did. What failed is in the `not_` maps, by creation id or id."""

    created: Body
    updated: Body
    destroyed: list[str]
    not_created: Body
    not_updated: Body
    not_destroyed: Body

    def as_json(self, caller: Caller) -> Body:
        answer: Body = {"accountId": text_id(caller.account.id), "oldState": STATE, "newState": STATE}
        for name, value in (
            ("created", self.created),
            ("updated", self.updated),
            ("destroyed", self.destroyed),
            ("notCreated", self.not_created),
            ("notUpdated", self.not_updated),
            ("notDestroyed", self.not_destroyed),
        ):
            if value:
                answer[name] = value
        return answer


class Registry:
    """The objects as a caller may see and change them. Each object is a transaction of its own."""

    def __init__(self, objects: Objects, accounts: Accounts, destruction: Destruction, limits: Limits) -> None:
        self._objects = objects
        self._accounts = accounts
        self._destruction = destruction
        self._limits = limits

    def own_id(self, caller: Caller) -> str:
        return text_id(caller.account.id)

    def get(self, kind: Kind, caller: Caller, arguments: Body) -> Body:
        _demand(caller, kind, "Get")
        ids, names = arguments.get("ids"), arguments.get("properties")
        if ids is not None and len(ids) > self._limits.objects_in_get:
            raise MethodError("requestTooLarge", "The number of ids exceeds maxObjectsInGet.")
        found = [self._visible(kind, caller, text) for text in ids or ()]
        rows = self._all(kind, caller)[: self._limits.objects_in_get] if ids is None else [r for r in found if r]
        missing = [text for text, row in zip(ids or (), found, strict=True) if row is None]
        shown = [self.shown(kind, row) for row in rows]
        if names is not None:
            shown = [{key: item for key, item in each.items() if key == "id" or key in names} for each in shown]
        return {"accountId": text_id(caller.account.id), "state": STATE, "list": shown, "notFound": missing}

    def query(self, kind: Kind, caller: Caller, arguments: Body) -> Body:
        """Newest first, unless sorted by id ascending."""
        _demand(caller, kind, "Query")
        conditions = arguments.get("filter") or {}
        if "operator" in conditions:
            raise MethodError("unsupportedFilter", "Only AND is supported in filters")
        for name, value in conditions.items():
            if name not in kind.filters or not isinstance(value, str):
                raise MethodError("unsupportedFilter", name)
        rows = [(row, self.shown(kind, row)) for row in self._all(kind, caller)]
        numbers = [
            row.id for row, shown in rows if all(matches(shown, name, value) for name, value in conditions.items())
        ]
        numbers.sort(reverse=not _ascending(arguments.get("sort")))
        position, limit = _window(arguments)
        ids = [text_id(number) for number in numbers][position:][:limit]
        total = {"total": len(numbers)} if arguments.get("calculateTotal") else {}
        return {
            "accountId": text_id(caller.account.id),
            "queryState": STATE,
            "canCalculateChanges": False,
            "position": position,
            "ids": ids,
            **total,
        }

    def set(self, kind: Kind, caller: Caller, arguments: Body, created: Created) -> Body:
        if kind.read_only:
            raise MethodError("forbidden", f"{kind.name}s cannot be changed.")
        creations, updates = arguments.get("create") or {}, arguments.get("update") or {}
        destroy = [*(arguments.get("destroy") or ())]
        if len(creations) + len(updates) + len(destroy) > self._limits.objects_in_set:
            raise MethodError("requestTooLarge", "The number of objects exceeds maxObjectsInSet.")
        if arguments.get("ifInState") not in (None, STATE):
            raise MethodError("stateMismatch", "The supplied state does not match.")
        for asked, change in ((creations, "Create"), (updates, "Update"), (destroy, "Destroy")):
            if asked:
                _demand(caller, kind, change)
        outcome = Outcome({}, {}, [], {}, {}, {})
        for name, raw in creations.items():
            try:
                outcome.created[name] = self._create(kind, caller, raw, created)
                created[name] = outcome.created[name]["id"]
            except SetError as error:
                outcome.not_created[name] = error.as_json()
        doomed = {created.get(text[1:], text) if text.startswith("#") else text for text in destroy}
        for text, changes in updates.items():
            try:
                identity = resolved(text, created)
                self._update(kind, caller, identity, changes, created, doomed=identity in doomed)
                outcome.updated[text] = None
            except SetError as error:
                outcome.not_updated[text] = error.as_json()
        for text in destroy:
            try:
                self._destroy(kind, caller, resolved(text, created))
                outcome.destroyed.append(resolved(text, created))
            except SetError as error:
                outcome.not_destroyed[text] = error.as_json()
        return outcome.as_json(caller)

    def shown(self, kind: Kind, row: Stored) -> Body:
        """An object as it reads: with what the server adds, without its secrets."""
        shown: Body = {**masked(row.body), "id": text_id(row.id)}
        members = kind.record(row.body).members
        if "createdAt" in members:
            shown["createdAt"] = row.created
        match kind.name:
            case "Account":
                shown |= {
                    "emailAddress": self._accounts.address(row),
                    "usedDiskQuota": self._accounts.used_bytes(row),
                }
                for position, credential in enumerate(shown.get("credentials", {}).values()):
                    credential["credentialId"] = text_id(position)
            case "Tenant":
                shown["usedDiskQuota"] = self._objects.used_bytes("tenant", row.id)
            case "Domain":
                shown["dnsZoneFile"] = f"{row.body['name']}. IN MX 10 mail.{row.body['name']}.\n"
            case "ApiKey":
                shown["secret"] = MASK
            case "Task":
                shown["status"] = {"@type": "Pending"}
                del shown["due"]
        return shown

    def _create(self, kind: Kind, caller: Caller, raw: Any, created: Created) -> Body:
        draft = self._draft(kind, caller, resolved(raw, created), None)
        answer: Body = {}
        if kind.owned:
            self._check_quota_of_keys(caller)
            secret = f"API_{secrets.token_urlsafe(32)}"
            draft = _with_digest(draft, digest(secret), caller)
            answer["secret"] = secret
        self._check_quota_of_tenant(kind, caller, draft.body)
        with transaction(self._objects.store):
            number = self._objects.add(kind.name, draft)
        return {"id": text_id(number), **answer}

    def _update(self, kind: Kind, caller: Caller, text: str, changes: Any, created: Created, *, doomed: bool) -> None:
        row = self._visible(kind, caller, text)
        if row is None:
            raise SetError("notFound")
        if doomed:
            raise SetError("willDestroy")
        if not isinstance(changes, dict):
            raise invalid_patch("", "Invalid value type for object")
        asked = resolved(changes, created)
        if asked.get("@type", row.body.get("@type")) != row.body.get("@type"):
            raise SetError("invalidProperties", "Cannot change the type of an existing account.", properties=["@type"])
        body = patched(kind.writable(row.body), asked, kind.record(row.body))
        draft = self._draft(kind, caller, unmasked(body, row.body), row)
        if kind.owned:
            draft = _with_digest(draft, row.body["secret"], caller)
        with transaction(self._objects.store):
            self._objects.replace(kind.name, row.id, draft)

    def _destroy(self, kind: Kind, caller: Caller, text: str) -> None:
        row = self._visible(kind, caller, text)
        if row is None:
            raise SetError("notFound")
        linked = [{"object": name, "id": text_id(number)} for name, number in self._objects.linked_to(row.id)]
        if linked:
            raise SetError("objectIsLinked", objectId=_object_id(kind.name, row.id), linkedObjects=linked)
        with transaction(self._objects.store):
            self._objects.remove(row.id)
            if kind.name == "Account":
                self._destruction.schedule(row)

    def _draft(self, kind: Kind, caller: Caller, raw: Any, old: Stored | None) -> Draft:
        problems: Problems = []
        body = kind.shape.read(raw, "", problems)
        if problems:
            raise SetError("validationFailed", validationErrors=problems)
        if caller.tenant is not None and "memberTenantId" in kind.record(body).members:
            if body["memberTenantId"] not in (None, text_id(caller.tenant)):
                raise invalid_patch("memberTenantId", "Cannot modify memberTenantId property")
            body["memberTenantId"] = text_id(caller.tenant)
        if kind.name == "Account":
            check_account(body, old.body if old else None)
            check_groups(self._objects, body)
        named = [*kind.shape.references(body)]
        for name, number in named:
            target = self._objects.find(name, number)
            if target is None or (caller.tenant is not None and caller.tenant not in (target.tenant, target.id)):
                raise SetError("invalidForeignKey", objectId=_object_id(name, number))
        keys = kind.keys(body)
        for key, source in keys.items():
            holder = self._objects.holder(kind.name, key)
            if holder is not None and (old is None or holder != old.id):
                raise SetError("primaryKeyViolation", properties=[source], objectId=_object_id(kind.name, holder))
        return Draft(body, keys, frozenset(number for _, number in named), number_id(body.get("memberTenantId")))

    def _check_quota_of_keys(self, caller: Caller) -> None:
        quota = caller.account.body["quotas"].get("maxApiKeys", API_KEYS_OF_AN_ACCOUNT)
        if len(self._all(KINDS["ApiKey"], caller)) >= quota:
            raise SetError("overQuota", f"You have exceeded your quota of {quota} API keys.")

    def _check_quota_of_tenant(self, kind: Kind, caller: Caller, body: Body) -> None:
        """Of what a tenant's own administrator makes; the server's administrator is not bound."""
        tenant = self._objects.find("Tenant", caller.tenant)
        group = body.get("@type") == "Group"
        name = {"Account": "maxGroups" if group else "maxAccounts", "Domain": "maxDomains"}.get(kind.name)
        quota = tenant.body["quotas"].get(name) if tenant else None
        if quota is None:
            return
        held = [row for row in self._all(kind, caller) if (row.body.get("@type") == "Group") == group]
        if len(held) >= quota:
            raise SetError("overQuota", f"You have exceeded your quota of {quota} {kind.name.lower()}s.")

    def _all(self, kind: Kind, caller: Caller) -> list[Stored]:
        return [row for row in self._objects.every(kind.name) if _sees(caller, kind, row)]

    def _visible(self, kind: Kind, caller: Caller, text: object) -> Stored | None:
        row = self._objects.find(kind.name, number_id(text))
        return row if row is not None and _sees(caller, kind, row) else None


def _sees(caller: Caller, kind: Kind, row: Stored) -> bool:
    if kind.owned:
        return row.owner == caller.account.id
    return caller.tenant is None or row.tenant == caller.tenant


def _demand(caller: Caller, kind: Kind, change: str) -> None:
    if not caller.allowance.allows(kind.permission(change)):
        raise MethodError("forbidden", f"You do not have the {kind.permission(change)} permission.")


def _with_digest(draft: Draft, value: str, caller: Caller) -> Draft:
    body = {**draft.body, "secret": value}
    return replace(draft, body=body, keys={value: "secret"}, owner=caller.account.id)


def _object_id(kind: str, number: int) -> Body:
    return {"object": kind, "id": text_id(number)}


def _ascending(sort: Iterable[Body] | None) -> bool:
    for comparator in sort or ():
        if comparator.get("property") != "id":
            raise MethodError("unsupportedSort", f"Property {comparator.get('property')} is not supported for sorting")
        return comparator.get("isAscending", True) is True
    return False


def _window(arguments: Body) -> tuple[int, int | None]:
    position, limit = arguments.get("position", 0), arguments.get("limit")
    for number in (position, limit or 0):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise MethodError("invalidArguments", "position and limit are non-negative integers")
    if "anchor" in arguments:
        raise MethodError("invalidArguments", "anchor is not supported")
    return position, limit
