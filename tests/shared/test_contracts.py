"""Contracts of events: what they are called, and that erasure can reach every human in them."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from shared.contracts import Event, Personal, contract_for, contracts, personal_paths
from shared.contracts.envelope import PERSONAL, Actor, Change, Contract, Resource
from shared.contracts.tenant import TenantCreated
from shared.contracts.user import UserUpdated
from shared.topology import owner_of

pytestmark = pytest.mark.unit

HUMAN = {"email", "mail", "address", "contact", "phone", "phones", "ip", "name", "firstname", "lastname"}

# Names and addresses of things, not of humans. Each was looked at: add to it only what cannot name a person.
REVIEWED = {
    ("resource", "name"): "the name of a tenant, partner or route; a human's resource is a PersonResource",
    ("state", "name"): "the company's name of a tenant",
    ("changes", "name", "before"): "the company's name of a tenant",
    ("changes", "name", "after"): "the company's name of a tenant",
    ("state", "domains", "*", "name"): "a mail domain",
    ("changes", "domains", "before", "*", "name"): "a mail domain",
    ("changes", "domains", "after", "*", "name"): "a mail domain",
}


def leaves(annotation: Any, path: tuple[str, ...], marked: bool = False) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Every value inside a type: its wire path, its type, whether it or something around it is marked Personal."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from leaves(arguments[0], path, marked or PERSONAL in arguments[1:])
    elif origin in {Union, types.UnionType}:
        for argument in arguments:
            yield from leaves(argument, path, marked)
    elif origin in {list, tuple, set, frozenset}:
        yield from leaves(arguments[0], (*path, "*"), marked)
    elif origin is dict:
        yield from leaves(arguments[1], (*path, "*"), marked)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            wire = field.alias or name
            yield from leaves(field.annotation, (*path, wire), marked or PERSONAL in field.metadata)
    else:
        yield path, annotation, marked


def words_of(wire_name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", wire_name)}


def unmarked(contract: type[BaseModel]) -> list[tuple[str, ...]]:
    """Paths that look like a human's and are neither marked nor reviewed. A word anywhere in the path counts."""
    return [
        path
        for path, kind, marked in leaves(contract, ())
        if kind is str and not marked and any(words_of(part) & HUMAN for part in path) and path not in REVIEWED
    ]


@pytest.mark.parametrize("contract", contracts(), ids=lambda contract: contract.type)
def test_every_email_name_and_address_in_an_event_is_marked_personal(contract: type[Event]) -> None:
    assert unmarked(contract) == []


@pytest.mark.parametrize("contract", contracts(), ids=lambda contract: contract.type)
def test_the_personal_paths_are_those_that_an_independent_walk_finds(contract: type[Event]) -> None:
    assert set(personal_paths(contract)) == {path for path, _, marked in leaves(contract, ()) if marked}


def test_no_review_outlives_what_it_reviewed() -> None:
    present = {path for contract in contracts() for path, _, marked in leaves(contract, ()) if not marked}
    assert set(REVIEWED) <= present


class Leaky(Contract):
    reply_email: str | None = None
    client_ip: Annotated[str, "doc"] = ""
    phones: dict[str, str] | None = None
    postal_address: tuple[str, ...] = ()
    name: Change[str] | None = None
    description: str = ""
    shipping: Personal[str] | None = None


def test_the_walk_finds_what_somebody_forgot_to_mark() -> None:
    assert set(unmarked(Leaky)) == {
        ("replyEmail",),
        ("clientIp",),
        ("phones", "*"),
        ("postalAddress", "*"),
        ("name", "before"),
        ("name", "after"),
    }


def test_where_a_tenant_event_names_humans() -> None:
    assert personal_paths(TenantCreated) == [
        ("actor", "email"),
        ("actor", "ip"),
        ("changes", "billing", "after", "address"),
        ("changes", "billing", "after", "contact"),
        ("changes", "billing", "before", "address"),
        ("changes", "billing", "before", "contact"),
        ("state", "billing", "address"),
        ("state", "billing", "contact"),
    ]


def test_where_a_person_event_names_humans() -> None:
    assert personal_paths(UserUpdated) == [
        ("actor", "email"),
        ("actor", "ip"),
        ("changes", "email", "after"),
        ("changes", "email", "before"),
        ("changes", "name", "after"),
        ("changes", "name", "before"),
        ("resource", "name"),
        ("state", "email"),
        ("state", "name"),
    ]


@pytest.mark.parametrize("contract", contracts(), ids=lambda contract: contract.type)
def test_a_type_is_versioned_described_and_found_by_its_name(contract: type[Event]) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+\.v[1-9][0-9]*", contract.type)
    assert contract.summary.endswith(".")
    assert contract_for(contract.type) is contract
    word = contract.type.split(".")[0]
    assert contract.__module__.rpartition(".")[2] in {word, owner_of(contract.type), "access", "forgetting", "user"}


def test_an_unknown_type_has_no_contract() -> None:
    assert contract_for("tenant.exploded.v1") is None
    assert contract_for("") is None


def test_the_action_is_the_type_without_its_version_and_the_subject_the_resource_path() -> None:
    class Vouched(Event):
        type: ClassVar[str] = "tenant.vouched_for.v12"

    event = Vouched(actor=Actor(type="system", id="tests"), resource=Resource(type="tenant", id="acme"))
    assert (event.action, event.subject) == ("tenant.vouched_for", "tenants/acme")
