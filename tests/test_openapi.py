"""What the API document tells of every operation: enough to write a client from, and all of it true to its schemas."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infrastructure.docs.discovery import services_with
from infrastructure.docs.openapi import document, operations_of
from tests.support.openapi import PROBLEM, Strict, operations, resolved, success

pytestmark = pytest.mark.unit

DOCUMENT = document()
STRICT = Strict(DOCUMENT)
OPERATIONS = dict(operations(DOCUMENT))
JSON = "application/json"


def _where(operation: dict[str, Any]) -> str:
    service, _, name = operation["operationId"].partition(".")
    return f"describe {name!r} in the examples.py of services/{service} (shared/openapi.py: Described)"


def _shown(content: dict[str, Any]) -> list[Any]:
    """Return the examples of a media type object (OpenAPI 3.1 §4.8.14: one ``example``, or ``examples`` by name)."""
    own = [content["example"]] if "example" in content else []
    return own + [example["value"] for example in content.get("examples", {}).values()]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_shows_an_example_of_what_it_takes_and_of_what_it_gives(name: str) -> None:
    operation = OPERATIONS[name]
    if "requestBody" in operation:
        assert _shown(operation["requestBody"]["content"][JSON]), f"{name} shows no request: {_where(operation)}"
    for status, response in operation["responses"].items():
        if status.startswith("2") and status != "204":
            # A stream of lines is no JSON document; it shows an example all the same.
            content = response["content"].get(JSON) or next(iter(response["content"].values()))
            assert _shown(content), f"{name} shows no answer {status}: {_where(operation)}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_shows_a_problem_and_says_what_it_does(name: str) -> None:
    operation = OPERATIONS[name]
    responses = [resolved(DOCUMENT, response) for response in operation["responses"].values()]
    assert any(_shown(response["content"][PROBLEM]) for response in responses if PROBLEM in response.get("content", {}))
    assert operation["description"].endswith((".", "`")), f"{name} is not described: {_where(operation)}"
    nameless = [p["name"] for p in operation.get("parameters", []) if not p.get("description") and p["in"] != "query"]
    assert nameless == [], f"{name}: say what they are in shared/openapi.py"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_example_is_what_its_schema_says(name: str) -> None:
    operation = OPERATIONS[name]
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    bodies += [resolved(DOCUMENT, response) for response in operation["responses"].values()]
    wrong = [
        f"{complaint} in {example}"
        for body in bodies
        for content in body.get("content", {}).values()
        for example in _shown(content)
        for complaint in STRICT.complaints(content["schema"], example)
    ]
    assert wrong == [], f"{name}: " + "\n".join(wrong)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_is_a_problem_document_of_its_status(name: str) -> None:
    for status, written in OPERATIONS[name]["responses"].items():
        if not status.startswith(("4", "5")):
            continue
        response = resolved(DOCUMENT, written)
        assert list(response["content"]) == [PROBLEM], f"{name} {status}"
        for code, example in response["content"][PROBLEM]["examples"].items():
            assert (example["value"]["status"], example["value"]["code"]) == (int(status), code)
        assert ("Retry-After" in response.get("headers", {})) == (status in {"429", "503"}), f"{name} {status}"
        assert ("WWW-Authenticate" in response.get("headers", {})) == (status == "401"), f"{name} {status}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_request_may_carry_is_answered_for(name: str) -> None:
    """A conditional request can be stale, a key can be reused, a page has a next one, a token can be bad."""
    operation = OPERATIONS[name]
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    responses = operation["responses"]
    status, answer = success(operation)
    headers = answer.get("headers", {})
    # A webhook asks for no token, but for a signature.
    assert ("401" in responses) == (operation.get("security") != [] or "x-signature" in {n.lower() for n in names})
    assert ("412" in responses) == ("if-match" in names)
    assert ("Link" in headers) == ("cursor" in names)
    if "if-match" in names and status != 204:
        assert "ETag" in headers
    if "idempotency-key" in names:
        assert {"idempotency_in_progress", "idempotency_key_reused"} <= _codes(operation)
    if "requestBody" in operation:
        assert {"malformed_request", "invalid", "content_too_large"} <= _codes(operation)
    if "{" in name:
        assert "not_found" in _codes(operation)


def _codes(operation: dict[str, Any]) -> set[str]:
    contents = [resolved(DOCUMENT, response).get("content", {}) for response in operation["responses"].values()]
    return {code for content in contents for code in content.get(PROBLEM, {}).get("examples", {})}


def test_operation_ids_are_short_and_unique() -> None:
    found = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(found) == len(set(found))
    assert [name for name in found if not name.replace(".", "_").isidentifier() or "_api_" in name] == []


@pytest.mark.parametrize("service", services_with("main.py"))
def test_nothing_is_described_that_is_not_there(service: str) -> None:
    there = {operation["operationId"] for operation in OPERATIONS.values()}
    gone = [name for name in operations_of(service) if f"{service}.{name}" not in there]
    assert gone == [], f"services/{service}: no route has this name any more: remove its description"


def test_every_reference_of_the_document_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for part in node.values() for found in references(part)]
        return [found for part in node for found in references(part)] if isinstance(node, list) else []

    for reference in references(DOCUMENT):
        resolved(DOCUMENT, {"$ref": reference})


def test_every_tag_is_described_and_none_is_idle() -> None:
    used = {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}


def test_the_certificate_that_is_shown_can_be_verified() -> None:
    """RFC 7515 §5.2 and RFC 8037 §3.1, without a line of ours; the key is that of RFC 8037, appendix A."""
    shown = success(OPERATIONS["GET /api/tenants/{slug}/certificate"])[1]["content"][JSON]["example"]
    header, payload, signature = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in shown["certificate"].split(".")
    )
    published = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert shown["publicKey"]["x"] == published
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(published + "="))
    key.verify(signature, shown["certificate"].rpartition(".")[0].encode())
    assert json.loads(header)["kid"] == shown["publicKey"]["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert json.loads(payload) == shown["payload"]
    assert hashlib.sha256(shown["certificate"].encode()).hexdigest() == shown["sha256"]
