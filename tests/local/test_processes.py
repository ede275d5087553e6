"""The table of processes: the ports that others rely on, and who is told what."""

import json

import pytest

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place
from infrastructure.local.processes import NATS_USERS, PROCESSES, Process, minimal_environment, stop_order
from shared.topology import BY_NAME

pytestmark = pytest.mark.unit

# The published port table.
OFFSETS = {
    "gateway": 0,
    "tenant": 1,
    "partner": 2,
    "billing": 3,
    "flags": 4,
    "audit": 5,
    "health": 6,
    "authentik": 20,
    "stalwart": 21,
    "ocis": 22,
    "stripe": 23,
    "mongod": 30,
    "nats": 31,
    "nats monitor": 32,
    "s3": 33,
    "s3 master": 34,
    "s3 volume": 35,
    "s3 filer": 36,
}
ROWS = [pytest.param(process, id=process.name) for process in PROCESSES]


def secrets_of(credentials: Credentials) -> dict[str, str]:
    """Every secret by the processes that may be told it, as `owner kind`."""
    return {
        **{f"{name} mongo": secret for name, secret in credentials.mongo.items()},
        **{f"{name} nats": secret for name, secret in credentials.nats.items()},
        **{f"{name} signing": secret for name, secret in credentials.signing.items()},
        **{f"audit {name}": secret for name, secret in credentials.audit.items()},
        **{f"gateway {name}": secret for name, secret in credentials.gateway.items()},
        **{f"authentik {name}": secret for name, secret in credentials.authentik.items()},
        **{f"person {name}": person.password for name, person in credentials.people.items()},
        **{f"person {name} app": person.app_password for name, person in credentials.people.items()},
    }


@pytest.mark.parametrize("process", ROWS)
def test_every_port_is_the_published_one(process: Process) -> None:
    assert process.offsets.items() <= OFFSETS.items()


SHARED_SECRETS = {
    "tenant": {"authentik api-token"},
    "audit": {"authentik api-token", "audit_archiver mongo"},
    "gateway": {"authentik dezky-operator", "authentik dezky-portal"},
}
"""What two processes must both know, because one shows it to the other; the archiver lives in the audit service."""


@pytest.mark.parametrize("process", ROWS)
def test_a_process_is_told_its_own_secrets_and_no_other(
    process: Process, place: Place, credentials: Credentials
) -> None:
    told = "\0".join([*process.environment(place, credentials).values(), *process.command(place)])
    known = {name for name, secret in secrets_of(credentials).items() if secret in told}
    others = {name for name in known if name.split()[0] != process.name}
    assert others <= SHARED_SECRETS.get(process.name, set())


@pytest.mark.parametrize("process", ROWS)
def test_no_secret_is_on_a_command_line(process: Process, place: Place, credentials: Credentials) -> None:
    command = " ".join(process.command(place))
    assert not [name for name, secret in secrets_of(credentials).items() if secret in command]


def test_the_environment_of_the_runner_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of somebody else")
    assert minimal_environment().keys() == {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONUTF8"}


def test_who_has_a_row_here_and_in_the_topology_are_the_same() -> None:
    assert set(NATS_USERS) == set(BY_NAME)


def test_a_process_is_stopped_before_whatever_it_needs() -> None:
    order = {name: place for place, group in enumerate(stop_order()) for name in group}
    assert order.keys() == {process.name for process in PROCESSES}
    assert all(order[process.name] < order[needed] for process in PROCESSES for needed in process.needs)


def test_processes_that_need_each_other_are_an_error_and_no_endless_loop() -> None:
    a, b = (
        Process(name, 0, lambda _place: [], lambda _place, _secrets: {}, needs=(other,))
        for name, other in (("a", "b"), ("b", "a"))
    )
    with pytest.raises(ValueError, match="a, b"):
        stop_order((a, b))


def test_the_gateway_knows_each_surface_by_its_own_issuer_and_audience(place: Place, credentials: Credentials) -> None:
    gateway = next(process for process in PROCESSES if process.name == "gateway")
    providers = json.loads(gateway.environment(place, credentials)["GATEWAY_PROVIDERS"])
    base = f"http://127.0.0.1:{place.port_base + 20}/application/o"
    assert [(p["surface"], p["issuer"], p["audiences"]) for p in providers] == [
        ("operator", f"{base}/dezky-operator/", ["dezky-operator"]),
        ("portal", f"{base}/dezky-portal/", ["dezky-portal"]),
    ]
    assert {p["identityProvider"] for p in providers} == {"authentik"}


def test_only_the_first_operator_exists_before_anybody_is_invited(place: Place, credentials: Credentials) -> None:
    seeds.write(place, credentials)
    provider = json.loads(seeds.authentik_file(place).read_text())
    groups = {user["username"]: user["groups"] for user in provider["users"]}
    assert groups == {"operator@dezky.local": ["dezky-platform-admins"]}


def test_the_demo_people_are_those_that_the_contract_names() -> None:
    assert {person.username for person in seeds.demo_people()} == {
        *("operator@dezky.local", "owner@nordic.example", "staff@nordic.example", "owner@fjord.example"),
        *("admin@acme.example", "member@acme.example", "admin@globex.example"),
    }


def test_the_files_with_passwords_are_private(place: Place, credentials: Credentials) -> None:
    seeds.write(place, credentials)
    assert seeds.authentik_file(place).stat().st_mode & 0o777 == 0o600
