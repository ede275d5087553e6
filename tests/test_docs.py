"""What is made from the code says what the code says, and says it right."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from infrastructure.docs.__main__ import DOCUMENTS, stale
from infrastructure.docs.asyncapi import document
from infrastructure.docs.contracts import documented, matches
from infrastructure.docs.discovery import ROOT, settings_classes
from infrastructure.docs.environment import variables_of
from shared.settings import load

pytestmark = pytest.mark.unit

SUSPENDED: dict[str, Any] = {
    "specversion": "1.0",
    "id": "0198c0de-0000-7000-8000-000000000009",
    "source": "tenant",
    "type": "tenant.suspended.v1",
    "subject": "tenants/acme",
    "time": "2026-11-22T12:00:00.000Z",
    "datacontenttype": "application/json",
    "sourceseq": 7,
    "data": {
        "actor": {
            "type": "user",
            "id": "p1",
            "email": "operator@dezky.local",
            "ip": "203.0.113.7",
            "surface": "operator",
        },
        "action": "tenant.suspended",
        "outcome": "success",
        "resource": {"type": "tenant", "id": "acme", "name": "Acme", "tenantSlug": "acme", "partnerSlug": "nordic"},
        "version": 2,
        "reason": "unpaid",
        "changes": {"status": {"before": "active", "after": "suspended"}},
        "state": {
            "id": "t1",
            "slug": "acme",
            "name": "Acme",
            "plan": "business",
            "cycle": "month",
            "currency": "EUR",
            "seats": 25,
            "domains": [{"name": "acme.example", "primary": True}],
            "billing": {"contact": None, "company": None, "address": None},
            "partner": "nordic",
            "status": "suspended",
            "suspendedReason": "unpaid",
            "createdAt": "2026-11-22T11:00:00.000Z",
            "updatedAt": "2026-11-22T12:00:00.000Z",
            "version": 2,
        },
    },
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_says_what_the_code_says(name: str) -> None:
    old = [str(path.relative_to(ROOT)) for path in stale(name)]
    assert not old, f"stale: {', '.join(old)}. Run: .venv/bin/python -m infrastructure.docs {name}"


class Sample(BaseSettings):
    """Settings with one field of each kind."""

    model_config = SettingsConfigDict(env_prefix="SAMPLE_")
    uri: SecretStr = Field(description="Where.")
    label: str = Field("two words", description="What.")
    networks: list[str] = Field(["10.0.0.0/8"], description="Whom.")
    file: Path | None = Field(None, description="Which.")
    spare: SecretStr | None = Field(None, description="Else.")
    token: SecretStr = Field(SecretStr("never shown"), description="Hidden.")


def test_a_variable_is_shown_with_what_a_reader_must_know() -> None:
    assert [variable.lines() for variable in variables_of(Sample)] == [
        "# Required. Secret. Where.\nSAMPLE_URI=",
        "# What.\nSAMPLE_LABEL='two words'",
        "# Whom.\nSAMPLE_NETWORKS='[\"10.0.0.0/8\"]'",
        "# Which.\n#SAMPLE_FILE=",
        "# Secret. Else.\n#SAMPLE_SPARE=",
        "# Secret. Hidden.\nSAMPLE_TOKEN=",
    ]


@pytest.mark.parametrize("settings", settings_classes(), ids=lambda settings: settings.__name__)
def test_the_example_names_every_variable_that_a_start_asks_for(
    settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in os.environ:
        if name.startswith((str(settings.model_config.get("env_prefix")), "INTERNAL_", "NATS_", "DEZKY_")):
            monkeypatch.delenv(name)
    with pytest.raises(SystemExit):
        load(settings)
    asked = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    given = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert asked
    assert [name for name in asked if f"{name}=" not in given] == []


def test_a_shell_reads_the_example_and_finds_no_secret_in_it() -> None:
    script = "set -a; . ./.env.example; exec env"
    read = subprocess.run(
        ["/bin/sh", "-eu", "-c", script], cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    variables = dict(line.split("=", 1) for line in read.stdout.decode().splitlines() if "=" in line)
    assert json.loads(variables["GATEWAY_TRUSTED_PROXIES"]) == []
    secret = ("_KEY", "_KEYS", "_URI", "_NATS_URL", "_SECRET", "_PASSWORD", "_TOKEN")
    assert {name: value for name, value in variables.items() if name.endswith(secret) and value} == {}


def test_an_event_on_the_wire_fits_its_asyncapi_message() -> None:
    assert _complaints(SUSPENDED) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("source",), "partner"),
        (("type",), "tenant.resumed.v1"),
        (("sourceseq",), "7"),
        (("data", "state", "seats"), "25"),
        (("data", "state", "domains"), [{"name": "acme.example"}]),
        (("data", "changes", "status", "after"), "asleep"),
        (("data", "actor", "type"), "robot"),
    ],
)
def test_a_wrong_event_does_not_fit_its_asyncapi_message(path: tuple[str, ...], value: object) -> None:
    event = json.loads(json.dumps(SUSPENDED))
    node = event
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    assert _complaints(event)


def _complaints(event: dict[str, Any]) -> list[str]:
    """What the message of ``tenant.suspended.v1`` has against ``event``."""
    message = "#/components/messages/tenant.suspended.v1/payload"
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": message,
        "components": document()["components"],
    }
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(event)]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    made = document()
    lost = []
    for reference in _references(made):
        node: Any = made
        for name in reference.removeprefix("#/").split("/"):
            node = node.get(name) if isinstance(node, dict) else None
        if node is None:
            lost.append(reference)
    assert lost == []


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for part in node.values() for found in _references(part)]
    if isinstance(node, list):
        return [found for part in node for found in _references(part)]
    return []


def test_personal_fields_are_named_in_the_message_that_carries_them() -> None:
    messages = document()["components"]["messages"]
    assert {"data.actor.email", "data.actor.ip", "data.state.billing.contact"} <= {
        *messages["tenant.created.v1"]["x-personal"]
    }
    assert {"data.state.email", "data.state.name", "data.resource.name"} <= {
        *messages["user.registered.v1"]["x-personal"]
    }


def test_audit_receives_every_event() -> None:
    assert [event.type for event in documented() if ("audit", "audit-chain") not in event.consumers] == []


@pytest.mark.parametrize(
    ("pattern", "event_type", "covered"),
    [
        (">", "tenant.created.v1", True),
        ("tenant.>", "tenant.created.v1", True),
        ("tenant.>", "tenant", False),
        ("tenant.*.v1", "tenant.created.v1", True),
        ("tenant.*", "tenant.created.v1", False),
        ("tenant.created.v1", "tenant.created.v1", True),
        ("partner.>", "tenant.created.v1", False),
    ],
)
def test_patterns_cover_types_as_nats_matches_subjects(pattern: str, event_type: str, covered: bool) -> None:
    assert matches(pattern, event_type) is covered
