"""The AsyncAPI document is one, by the rules of AsyncAPI 3.0.0, and every event in it has an example that is one."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from infrastructure.docs.asyncapi import document
from infrastructure.docs.contracts import documented, matches
from infrastructure.docs.discovery import ROOT
from infrastructure.docs.examples import example_of
from shared.contracts import CloudEvent, Event, contract_for, contracts
from shared.contracts.envelope import Change
from shared.topology import PROCESSES, owner_of

pytestmark = pytest.mark.unit

DOCUMENT = document()
TYPES = [event.type for event in documented()]
EXAMPLES = {event.type: event.example for event in documented()}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    """A fixed-field object of the specification: what must be, what may be, extensions, and nothing else."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


def _map(values: dict[str, Any], keys: str = ".*") -> dict[str, Any]:
    return {"type": "object", "patternProperties": {keys: values}, "additionalProperties": False}


STRING = {"type": "string", "minLength": 1}
# The keys of components (AsyncAPI 3.0.0, Components Object).
KEY = r"^[\w\d.\-_]+$"
REFERENCE = {"type": "object", "required": ["$ref"], "properties": {"$ref": STRING}, "additionalProperties": False}
TAGS = {"type": "array", "items": _object(["name"], name=STRING, description=STRING), "uniqueItems": True}
EXAMPLE = {
    **_object([], name=STRING, summary=STRING, headers={"type": "object"}, payload={}),
    "anyOf": [{"required": ["headers"]}, {"required": ["payload"]}],
}
MESSAGE = _object(
    [],
    **dict.fromkeys(("name", "title", "summary", "description", "contentType"), STRING),
    headers={"type": "object", "required": ["type"], "properties": {"type": {"const": "object"}}},
    payload={"type": "object"},
    tags=TAGS,
    traits={"type": "array", "items": REFERENCE},
    examples={"type": "array", "items": EXAMPLE, "minItems": 1},
)
SERVER = _object(
    ["host", "protocol"],
    host=STRING,
    protocol=STRING,
    description=STRING,
    variables=_map(_object([], default=STRING, description=STRING)),
    security={"type": "array", "items": REFERENCE},
)
CHANNEL = _object(
    [],
    address={"type": ["string", "null"]},
    title=STRING,
    description=STRING,
    servers={"type": "array", "items": REFERENCE, "uniqueItems": True},
    messages=_map(REFERENCE),
)
OPERATION = _object(
    ["action", "channel"],
    action={"enum": ["send", "receive"]},
    channel=REFERENCE,
    summary=STRING,
    messages={"type": "array", "items": REFERENCE},
)
SPECIFICATION = _object(
    ["asyncapi", "info"],
    asyncapi={"const": "3.0.0"},
    info=_object(
        ["title", "version"],
        title=STRING,
        version=STRING,
        description=STRING,
        license=_object(["name"], name=STRING),
        tags=TAGS,
    ),
    defaultContentType=STRING,
    servers=_map(SERVER, KEY),
    channels=_map(CHANNEL),
    operations=_map(OPERATION),
    components=_object(
        [],
        securitySchemes=_map(_object(["type"], type={"const": "userPassword"}, description=STRING), KEY),
        messages=_map(MESSAGE, KEY),
        messageTraits=_map(MESSAGE, KEY),
        schemas=_map({"type": "object"}, KEY),
    ),
)


def test_the_document_is_built_as_the_specification_says() -> None:
    validator = jsonschema_rs.validator_for(SPECIFICATION)
    assert [f"{list(e.instance_path)}: {e.message}"[:300] for e in validator.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("info", "version"), 1),
        (("servers", "fleet", "host"), None),
        (("operations", "tenant.sends.tenant.created.v1", "action"), "publish"),
        (("channels", "tenant.created.v1", "subscribe"), {}),
        (("components", "messages", "tenant.created.v1", "examples"), [{"name": "empty"}]),
    ],
)
def test_what_the_specification_forbids_is_seen(path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(DOCUMENT)
    node = broken
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    assert not jsonschema_rs.validator_for(SPECIFICATION).is_valid(broken)


def test_an_operation_names_messages_of_its_own_channel() -> None:
    """A message of an operation MUST be one of the channel that it refers to, by the channel's own reference."""
    for name, operation in DOCUMENT["operations"].items():
        channel = operation["channel"]["$ref"]
        assert channel.removeprefix("#/channels/") in DOCUMENT["channels"], name
        assert [m["$ref"].startswith(f"{channel}/messages/") for m in operation["messages"]] == [True], name


@pytest.mark.parametrize("event_type", TYPES)
def test_every_type_has_a_channel_one_publisher_and_its_receivers(event_type: str) -> None:
    channel = DOCUMENT["channels"][event_type]
    assert channel["address"] == f"events.{event_type}"
    told = {n: o["action"] for n, o in DOCUMENT["operations"].items() if n.endswith(f".{event_type}")}
    sending = [name for name, action in told.items() if action == "send"]
    assert sending == [f"{owner_of(event_type)}.sends.{event_type}"]
    expected = {
        f"{process.name}.{spec.name}.receives.{event_type}"
        for process in PROCESSES
        for spec in process.consumers
        if any(matches(pattern, event_type) for pattern in spec.types)
    }
    assert {name for name in told if ".receives." in name} == expected


# -- examples


@cache
def _closed() -> dict[str, Any]:
    components = copy.deepcopy(DOCUMENT["components"])
    for name, schema in components["schemas"].items():
        if "properties" in schema and name != "CloudEvent":
            schema["additionalProperties"] = False
    return components


def _message(event_type: str) -> Any:
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/components/messages/{event_type}/payload",
        "components": {"schemas": _closed()["schemas"], "messages": {event_type: _closed()["messages"][event_type]}},
    }
    return jsonschema_rs.validator_for(whole, validate_formats=True)


@pytest.mark.parametrize("event_type", TYPES)
def test_the_example_of_an_event_fits_its_message_and_has_no_member_more(event_type: str) -> None:
    [shown] = DOCUMENT["components"]["messages"][event_type]["examples"]
    found = [f"{list(e.instance_path)}: {e.message}" for e in _message(event_type).iter_errors(shown["payload"])]
    assert found == []
    headers = DOCUMENT["components"]["messageTraits"]["cloudevent"]["headers"]
    assert jsonschema_rs.validator_for(headers).is_valid(shown["headers"])
    assert shown["headers"]["Nats-Msg-Id"] == shown["payload"]["id"]


@pytest.mark.parametrize("event_type", TYPES)
def test_the_example_of_an_event_is_parsed_by_its_contract(event_type: str) -> None:
    envelope = CloudEvent.model_validate(EXAMPLES[event_type])
    contract = contract_for(event_type)
    assert contract is not None
    event = contract.model_validate(envelope.data)
    assert (event.subject, event.action) == (envelope.subject, event_type.rsplit(".v", 1)[0])
    assert envelope.source == owner_of(event_type)


@pytest.mark.parametrize("event_type", TYPES)
def test_the_changes_of_an_example_are_what_its_state_says(event_type: str) -> None:
    """``after`` is what the state holds now, and ``before`` is something else."""
    data = EXAMPLES[event_type]["data"]
    # Those of a condition lie inside the state.
    changes = {} if event_type == "tenant.provisioning_changed.v1" else data.get("changes", {})
    for name, change in changes.items():
        assert change["after"] == data["state"][name], name
        assert change["before"] != change["after"], name
    if "state" in data:
        assert data["version"] == data["state"].get("version")


def test_an_event_without_an_example_is_refused_with_what_to_do() -> None:
    class Unheard(Event):
        type = "tenant.unheard.v1"

    with pytest.raises(LookupError, match=r"tenant\.unheard\.v1 has no example: add one to _all_told"):
        example_of(Unheard)


def test_no_person_of_the_examples_is_real() -> None:
    addresses = re.findall(r"[\w.]+@[\w.-]+", str(EXAMPLES))
    assert addresses
    assert [address for address in addresses if not address.endswith(".example")] == []


# -- the page


def test_the_page_has_every_event_and_every_shape() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert [event_type for event_type in TYPES if f"### `{event_type}`\n" not in page] == []
    targets = set(re.findall(r"\]\(#([a-z0-9]+)\)", page))
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert targets - headings == set()
    assert Change.__name__ not in headings
    assert "None" not in page, "on the wire it is null"


def test_every_contract_is_documented() -> None:
    assert {contract.type for contract in contracts() if owner_of(contract.type)} == set(TYPES)
