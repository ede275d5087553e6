"""Settings refuse to boot with one clear line per problem, and never print a secret."""

from __future__ import annotations

import json
from typing import Self

import pytest
from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, load
from shared.testing import public_keys, seed_text

pytestmark = pytest.mark.unit


class SampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")


GOOD = {
    "SAMPLE_PORT": "8099",
    "SAMPLE_MONGO_URI": "mongodb://sample:hunter2@127.0.0.1/sample",
    "SAMPLE_MONGO_DATABASE": "sample",
    "SAMPLE_NATS_URL": "nats://sample:hunter2@127.0.0.1",
    "SAMPLE_INTERNAL_SIGNING_KEY": seed_text("tenant"),
    "SAMPLE_INTERNAL_SIGNING_KID": "sample-1",
    "INTERNAL_PUBLIC_KEYS": json.dumps({kid: key.model_dump() for kid, key in public_keys().items()}),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("NATS_PREFIX", "DEZKY_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_come_from_the_environment_and_hide_their_secrets(environment: pytest.MonkeyPatch) -> None:
    settings = load(SampleSettings)
    assert (settings.port, settings.host) == (8099, "127.0.0.1")
    assert (settings.nats_prefix, settings.environment) == ("", "local")
    assert settings.internal_public_keys == public_keys()
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    assert seed_text("tenant") not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SAMPLE_PORT", None, "is not set"),
        ("SAMPLE_PORT", "http", "integer"),
        ("SAMPLE_PORT", "70000", "65535"),
        ("SAMPLE_MONGO_URI", None, "is not set"),
        ("SAMPLE_NATS_URL", None, "is not set"),
        ("SAMPLE_INTERNAL_SIGNING_KEY", None, "is not set"),
        ("SAMPLE_INTERNAL_SIGNING_KEY", "c2hvcnQ", "32 bytes"),
        ("SAMPLE_INTERNAL_SIGNING_KEY", "!" * 43, "base64url"),
        ("INTERNAL_PUBLIC_KEYS", None, "is not set"),
        ("INTERNAL_PUBLIC_KEYS", '{"a": {"owner": "gateway", "x": "c2hvcnQ"}}', "32 bytes"),
        ("INTERNAL_PUBLIC_KEYS", '{"a": {"x": "c2hvcnQ"}}', "is not set"),
    ],
)
def test_a_bad_variable_is_named_in_one_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str | None, says: str
) -> None:
    environment.delenv(variable) if value is None else environment.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        load(SampleSettings)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(variable)
    assert says in line


def test_a_variable_that_should_be_json_and_is_none_ends_in_a_line_and_not_in_a_traceback(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("INTERNAL_PUBLIC_KEYS", "{not json")
    with pytest.raises(SystemExit) as ended:
        load(SampleSettings)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "internal_public_keys" in lines[0].lower()


def test_every_problem_has_its_line(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable in ("SAMPLE_PORT", "SAMPLE_NATS_URL"):
        environment.delenv(variable)
    with pytest.raises(SystemExit):
        load(SampleSettings)
    lines = capsys.readouterr().err.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"SAMPLE_PORT", "SAMPLE_NATS_URL"}


def test_a_rule_about_several_settings_is_said_in_its_own_words(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ruled(SampleSettings):
        @model_validator(mode="after")
        def _one_database(self) -> Self:
            raise ValueError("SAMPLE_MONGO_DATABASE is not that of SAMPLE_MONGO_URI")

    with pytest.raises(SystemExit) as ended:
        load(Ruled)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "SAMPLE_MONGO_DATABASE is not that of SAMPLE_MONGO_URI\n"
