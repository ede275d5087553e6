"""`rebuild` and `compare` of the runner: whose projections there are, and that a fleet must be running."""

from __future__ import annotations

from pathlib import Path

import pytest

from infrastructure.docs.discovery import service_module, services_with, settings_of
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle
from infrastructure.local.lifecycle import credentials_of
from infrastructure.local.place import Place
from infrastructure.local.processes import OWNERS, SERVICES
from infrastructure.local.projections import run
from shared.settings import ProjectingSettings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "home", 20_000)
    made.prepare()
    return made


@pytest.mark.parametrize("service", ["audit", "nobody", ""])
def test_a_service_without_projections_is_refused_with_those_that_have_some(place: Place, service: str) -> None:
    with pytest.raises(Obstacle, match="one of tenant, partner, billing, flags"):
        run(place, "rebuild", service, None)


def test_without_a_running_fleet_nothing_is_rebuilt(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "rebuild", "partner", None) == 1
    assert "The fleet is not running" in capsys.readouterr().err


def test_every_service_that_keeps_projections_is_told_where_its_owners_are(place: Place) -> None:
    keeping = {
        name
        for name in services_with("settings.py")
        if issubclass(settings_of(service_module(name, "settings")), ProjectingSettings)
    }
    assert keeping == set(OWNERS)
    credentials: Credentials = credentials_of(place)
    tenant = next(process for process in SERVICES if process.name == "tenant")
    environment = tenant.environment(place, credentials)
    assert environment["TENANT_OWNERS"] == '{"partner": "http://127.0.0.1:20002", "billing": "http://127.0.0.1:20003"}'
