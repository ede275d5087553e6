"""A request for every operation: written down for those that exist, made from the schema for those to come."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.security.access.table import Operation, Role, key_of
from tests.security.access.world import Place, World

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """A request that is right in every way; ``certain`` says that whoever may send it is answered with 2xx."""

    method: str
    path: str
    body: Body | None = None
    params: dict[str, Any] = field(default_factory=dict)
    certain: bool = True

    def arguments(self) -> dict[str, Any]:
        more: dict[str, Any] = {} if self.body is None else {"json": self.body}
        return {**more, "params": self.params} if self.params else more


def _fresh() -> str:
    return secrets.token_hex(5)


def _new_tenant(_: Place) -> Body:
    return {"slug": f"n-{_fresh()}", "name": "New", "plan": "business", "seats": 3}


def _new_partner(_: Place) -> Body:
    today = datetime.now(UTC).date().isoformat()
    contract = {"startsOn": today, "termMonths": 12, "margins": [{"since": today, "marginBps": 1}]}
    return {"slug": f"n-{_fresh()}", "name": "New", "contract": contract}


def _new_report(_: Place) -> Body:
    definition = {
        "dataset": "customers",
        "groupBy": ["plan"],
        "measures": ["customers"],
        "filters": {"status": ["active"]},
        "range": {"from": "2026-01", "to": "2026-12"},
    }
    return {"name": f"Report {_fresh()}", "definition": definition}


def _invitation(role: str) -> Callable[[Place], Body]:
    return lambda _: {"email": f"{_fresh()}@new.example", "name": "New", "role": role}


def _fixed(**body: Any) -> Callable[[Place], Body]:
    return lambda _: body


def _wanted(_: Place) -> Body:
    return {"tenant": f"n-{_fresh()}"}


def _to_partner(place: Place) -> Body:
    return {"partner": place.partner}


def _for_tenant(place: Place) -> Body:
    return {"tenantSlug": place.tenant}


def _acceptance(_: Place) -> Body:
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    drift = {"integration": "ocis", "kind": "space-quota", "object": _fresh()}
    return {**drift, "reason": "a migration", "expiresAt": expires}


BODIES: dict[tuple[str, str, str | None], Callable[[Place], Body]] = {
    ("POST", "/api/tenants", None): _new_tenant,
    ("PATCH", "/api/tenants/{}", "name"): lambda _: {"name": f"Renamed {_fresh()}"},
    ("PATCH", "/api/tenants/{}", "domains"): lambda _: {"domains": [{"name": f"{_fresh()}.example"}]},
    ("PATCH", "/api/tenants/{}", "billing"): lambda _: {"billing": {"company": f"Renamed {_fresh()}"}},
    ("PATCH", "/api/tenants/{}", "seats"): lambda _: {"seats": 40 + secrets.randbelow(100)},
    ("PATCH", "/api/tenants/{}", "plan"): _fixed(plan="enterprise"),
    ("PATCH", "/api/tenants/{}", "cycle"): _fixed(cycle="year"),
    ("POST", "/api/tenants/{}/suspend", None): _fixed(reason="unpaid"),
    ("DELETE", "/api/tenants/{}", None): _fixed(reason="left"),
    # What is detached is attached again by the next row: the rest of the world counts on it.
    ("DELETE", "/api/tenants/{}/partner", None): _fixed(),
    ("PUT", "/api/tenants/{}/partner", None): _to_partner,
    ("POST", "/api/partners/{}/transfers", None): _wanted,
    ("POST", "/api/tenants/{}/drift/acceptances", None): _acceptance,
    ("POST", "/api/tenants/{}/users", None): _invitation("member"),
    ("PATCH", "/api/tenants/{}/users/{}", None): _fixed(role="admin"),
    ("POST", "/api/partners/{}/users", None): _invitation("staff"),
    ("PATCH", "/api/partners/{}/users/{}", None): _fixed(role="owner"),
    ("POST", "/api/users/invite", None): lambda _: {"email": f"{_fresh()}@new.example", "name": "New"},
    ("POST", "/api/partners", None): _new_partner,
    ("PATCH", "/api/partners/{}", None): lambda _: {"name": f"Renamed {_fresh()}"},
    ("POST", "/api/partners/{}/suspend", None): _fixed(reason="unpaid"),
    ("POST", "/api/partners/{}/terminate", None): _fixed(),
    ("POST", "/api/partners/{}/reports/custom", None): _new_report,
    ("POST", "/api/prices", None): lambda _: {"plan": f"n-{_fresh()}", "cycle": "year", "amounts": {"EUR": 1}},
    ("PATCH", "/api/prices/{}", None): lambda _: {"amounts": {"EUR": 1 + secrets.randbelow(10_000)}},
    ("POST", "/api/flags", None): lambda _: {"key": f"n_{_fresh()}", "description": "New"},
    ("PATCH", "/api/flags/{}", None): lambda _: {"description": f"Changed {_fresh()}"},
    ("POST", "/api/flags/evaluate", None): _for_tenant,
    ("POST", "/api/flags/{}/explain", None): _for_tenant,
    ("POST", "/api/audit/verifications", None): _fixed(),
}
PARAMS: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/api/prices/{}/impact"): {"currency": "EUR", "amount": 5},
    ("GET", "/api/audit/proof/inclusion"): {"seq": 1},
    ("GET", "/api/audit/proof/consistency"): {"first": 1},
}
# What is refused as long as nobody has made a checkpoint of the log, or the object store has not joined yet.
_NEEDS_A_CHECKPOINT = {
    ("POST", "/api/audit/archive/run"),
    ("GET", "/api/audit/proof/inclusion"),
    ("GET", "/api/audit/proof/consistency"),
    ("POST", "/api/audit/proof/rebuild"),
    ("GET", "/api/audit/export"),
}
# What only a tenant has that has gone through a whole deletion, and only a person who was erased.
_OF_THE_DELETED = {("GET", "/api/tenants/{}/certificate")}
_OF_THE_ERASED = {("GET", "/api/users/{}/erasure")}
# The person who goes is made for the occasion.
_TAKES_A_PERSON = {
    ("DELETE", "/api/tenants/{}/users/{}"),
    ("POST", "/api/tenants/{}/users/{}/deactivate"),
    ("DELETE", "/api/partners/{}/users/{}"),
    ("POST", "/api/users/{}/deactivate"),
    ("POST", "/api/users/{}/erase"),
}
_ENDS_A_PARTNER = re.compile(r"/api/partners/\{\}/(suspend|resume|terminate)")
# What only an operator does to a tenant or to the catalog is done to one that nobody else needs.
_TAKES_A_TENANT = re.compile(r"/api/tenants/\{\}(/suspend|/resume|/restore|/reconcile|/partner|$)")


class Samples:
    """Makes requests for the operations of ``document``, the merged OpenAPI document."""

    def __init__(self, world: World, document: dict[str, Any]) -> None:
        self._world = world
        self.document = document

    def named(self, operation: Operation, scope: str, place: Place) -> Sample:
        """Return the request that names ``place``; sent by somebody who may, it would succeed."""
        values = {
            "slug": place.partner if operation.path.startswith("/api/partners/") else place.tenant,
            "person": place.partner_person if operation.path.startswith("/api/partners/") else place.tenant_person,
            "price_id": self._world.price,
            "key": self._world.flag,
        }
        names = re.findall(r"\{([^}]*)\}", operation.path)
        path = re.sub(r"\{([^}]*)\}", lambda match: values.get(match[1], "0" * 36), operation.path)
        body, certain = self._body(operation, place)
        params = PARAMS.get(operation.key, {})
        rare = _OF_THE_DELETED | _OF_THE_ERASED | _NEEDS_A_CHECKPOINT
        certain = certain and values.keys() >= set(names) and operation.key not in rare
        return Sample(operation.method, path, body, params, certain)

    def permitted(self, operation: Operation, scope: str, role: Role) -> Sample:
        """Return a request for somebody who may: it names what may be used up."""
        world, place = self._world, self._world.own if role.own else self._world.foreign
        only_spare = operation.member is None and operation.method != "GET" and world.own.spare
        if only_spare and _TAKES_A_TENANT.fullmatch(operation.key[1]):
            # Of our partner, whoever asks: there is one spare tenant for both.
            place = Place(world.own.spare, world.own.partner, place.tenant_person, place.partner_person, place.word)
        if operation.key in _TAKES_A_PERSON:
            place = self._with_a_person(operation, place)
        if _ENDS_A_PARTNER.fullmatch(operation.key[1]):
            made = world.operator("POST", "/api/partners", json=_new_partner(place))
            place = Place("", made.json()["slug"], "", "", place.word)
        if operation.key[1] == "/api/flags/{}" and operation.method == "DELETE":
            made = world.operator("POST", "/api/flags", json={"key": f"gone_{_fresh()}", "description": "New"})
            return Sample("DELETE", f"/api/flags/{made.json()['key']}")
        if operation.key[1] == "/api/prices/{}/archive":
            body = {"plan": f"n-{_fresh()}", "cycle": "month", "amounts": {"EUR": 5}}
            made = world.operator("POST", "/api/prices", json=body)
            return Sample("POST", f"/api/prices/{made.json()['id']}/archive")
        return self.named(operation, scope, place)

    def _with_a_person(self, operation: Operation, place: Place) -> Place:
        of_partner = operation.path.startswith("/api/partners/")
        path = f"/api/partners/{place.partner}/users" if of_partner else f"/api/tenants/{place.tenant}/users"
        role = "staff" if of_partner else "member"
        person = self._world.person("goes", path, role, place.word, signs_in=False)
        return Place(place.tenant, place.partner, person, person, place.word)

    def _body(self, operation: Operation, place: Place) -> tuple[Body | None, bool]:
        make = BODIES.get((*operation.key, operation.member))
        if make is not None:
            return make(place), True
        schema = self.schema_of(operation.method, operation.path)
        if schema is None:
            return None, True
        body = self.instance(schema)
        return (body if operation.member is None else {operation.member: body.get(operation.member)}), False

    # -- the document

    def schema_of(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the schema of an operation's JSON body, or None if it takes none."""
        for documented, item in self.document["paths"].items():
            if key_of("GET", documented) == key_of("GET", path):
                content = item[method.lower()].get("requestBody", {}).get("content", {})
                return self.resolved(content["application/json"]["schema"]) if "application/json" in content else None
        raise KeyError(path)

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow a reference within the document."""
        while "$ref" in schema:
            node: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                node = node[part]
            schema = node
        return schema

    def instance(self, schema: dict[str, Any]) -> Any:
        """Return a small value of a schema: required members, the first alternative, the least number."""
        schema = self.resolved(schema)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self.instance(schema[choice][0])
        match schema.get("type"):
            case "object":
                required = schema.get("required", [])
                return {name: self.instance(schema["properties"][name]) for name in required}
            case "array":
                return [self.instance(schema["items"])] * schema.get("minItems", 0)
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case _:
                return "x" * max(3, schema.get("minLength", 0))
