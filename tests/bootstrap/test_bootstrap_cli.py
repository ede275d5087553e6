"""The command: what is skipped, what is refused, and what each exit code means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infrastructure.bootstrap import cli, parts
from infrastructure.bootstrap.reports import ByHand, NotReady, Outcome, Report
from infrastructure.bootstrap.settings import BootstrapSettings
from infrastructure.docs.environment import variables_of

README = Path(cli.__file__).with_name("README.md")
URI = "mongodb://{0}:secret-of-{0}@mongo/{1}?authSource={1}"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables_of(BootstrapSettings):
        monkeypatch.delenv(variable.name, raising=False)


def test_a_part_whose_target_is_not_configured_is_skipped_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "skipped mongo: everything (BOOTSTRAP_MONGO_MEMBERS is not set)",
        "skipped nats: everything (BOOTSTRAP_NATS_URL is not set)",
        "skipped s3: everything (AUDIT_COLD_ENDPOINT is not set)",
        "skipped authentik: everything (BOOTSTRAP_AUTHENTIK_URL is not set)",
    ]
    assert cli.main(["--only", "s3,nats"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["nats:", "s3:"]


def test_an_unknown_part_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--only", "mongo,redis"])
    assert ended.value.code == 2
    assert "there is no part 'redis', only mongo, nats, s3, authentik" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BOOTSTRAP_MONGO_MEMBERS": "mongo:27017"}, "BOOTSTRAP_MONGO_ROOT_PASSWORD is not set"),
        (
            {"BOOTSTRAP_MONGO_MEMBERS": "mongo:27017", "BOOTSTRAP_MONGO_ROOT_PASSWORD": "hidden-one"},
            "TENANT_MONGO_URI is not set",
        ),
        ({"FLAGS_MONGO_URI": URI.format("tenant", "flags")}, "FLAGS_MONGO_URI must be of the user flags"),
        ({"FLAGS_MONGO_URI": "hidden-one"}, "FLAGS_MONGO_URI is no MongoDB URI"),
        ({"AUDIT_COLD_ENDPOINT": "http://s3:8333"}, "AUDIT_COLD_ACCESS_KEY is not set"),
        ({"AUDIT_COLD_ENDPOINT": "s3:8333"}, "AUDIT_COLD_ENDPOINT: "),
        (
            {"BOOTSTRAP_AUTHENTIK_URL": "http://a", "BOOTSTRAP_AUTHENTIK_TOKEN": "hidden-one"},
            "GATEWAY_PUBLIC_URL is not set",
        ),
        ({"TENANT_AUTHENTIK_TOKEN": "hidden-one"}, "TENANT_AUTHENTIK_TOKEN: "),
        ({"BOOTSTRAP_WAIT_SECONDS": "soon"}, "BOOTSTRAP_WAIT_SECONDS: "),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "hidden-one" not in error
    assert "secret-of" not in error


@pytest.mark.parametrize(
    ("stopped", "line", "code"),
    [
        (NotReady("It does not come", "Wait"), "failed  nats: It does not come. Wait.", 1),
        (ByHand("It has no lock", "Take another"), "missing nats: It has no lock. Take another.", 3),
        (OSError("refused"), "failed  nats: refused. Look at that server's log, then run again.", 1),
    ],
)
async def test_a_part_that_stops_is_said_and_the_others_run(
    stopped: Exception, line: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stops(_settings: BootstrapSettings) -> AsyncIterator[Report]:
        yield Report("a stream", Outcome.MADE)
        raise stopped

    async def goes_on(_settings: BootstrapSettings) -> AsyncIterator[Report]:
        yield Report("a bucket", Outcome.OK)

    monkeypatch.setattr(parts, "PARTS", {"nats": stops, "s3": goes_on})
    lines: list[str] = []
    assert await cli.run(BootstrapSettings(), ["nats", "s3"], lines.append) == code
    assert lines == ["made    nats: a stream", line, "ok      s3: a bucket"]


def test_the_readme_names_every_variable_and_every_exit_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert [v.name for v in variables_of(BootstrapSettings) if f"| `{v.name}` |" not in text] == []
    assert [code for code in (0, 1, 2, 3) if f"| {code} |" not in text] == []
