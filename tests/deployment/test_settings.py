"""What Compose tells our processes is what they ask for: no variable too few, none too many, every address right."""

import json
import os
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic_settings import BaseSettings

from infrastructure.bootstrap.settings import BootstrapSettings
from infrastructure.compose.variables import MONGO_USERS
from infrastructure.docs.discovery import service_module, settings_of
from infrastructure.docs.environment import variables_of
from infrastructure.local import processes
from infrastructure.local.credentials import Credentials
from infrastructure.local.lifecycle import credentials_of
from infrastructure.local.place import Place
from shared.settings import decode_key, load
from tests.deployment.composition import DOMAIN, OURS, networks_of, services, traefik_routes

pytestmark = pytest.mark.unit

# Where the others listen, inside their containers; said by their manuals and by the commands in the file.
LISTENS = {
    "mongo": {27017},
    "nats": {4222, 8222},
    "s3": {8333},
    "traefik": {8082},
    "authentik-server": {9000},
    "authentik-postgres": {5432},
    "stalwart": {25, 465, 993, 8080},
    "ocis": {9200, 9233},
    "ocis-collaboration": {9300},
    "collabora": {9980},
    "grafana": {3000},
    "prometheus": {9090},
}
CREDENTIALS = re.compile(r"//[^/@\s]*@")
ADDRESS = re.compile(r"(?<![\w.-])([a-z][a-z0-9-]*):([0-9]{2,5})(?![0-9])")
# The local fleet erases sooner, so that it can be watched, and tells the gateway keys that only services verify with.
LOCAL_ALONE = {("tenant", "TENANT_DELETION_GRACE_DAYS"), ("gateway", "INTERNAL_PUBLIC_KEYS")}


def environment_of(name: str) -> dict[str, str]:
    environment: dict[str, str] = services()[name]["environment"]
    return environment


def settings_class(name: str) -> type[BaseSettings]:
    if name == "gateway":
        from gateway import settings

        return settings_of(settings)
    return settings_of(service_module(name, "settings"))


def only(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", OURS)
def test_a_process_starts_with_what_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, environment_of(name))
    settings: Any = load(settings_class(name))
    assert settings.host == "0.0.0.0"
    assert settings.environment == "production"


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_told_nothing_that_it_does_not_know(name: str) -> None:
    known = {variable.name for variable in variables_of(settings_class(name))}
    assert sorted(environment_of(name).keys() - known) == []


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_told_all_that_the_local_fleet_tells_it(name: str, tmp_path: Any) -> None:
    place = Place(tmp_path / "home", 8080)
    place.prepare()
    local = _told(name, place, credentials_of(place))
    assert [variable for variable in local - environment_of(name).keys() if (name, variable) not in LOCAL_ALONE] == []


def _told(name: str, place: Place, credentials: Credentials) -> set[str]:
    process = next(process for process in processes.PROCESSES if process.name == name)
    return set(process.environment(place, credentials))


@pytest.mark.parametrize("name", OURS)
def test_the_port_is_the_same_in_settings_and_in_the_health_check(name: str) -> None:
    service = services()[name]
    port = environment_of(name)[f"{name.upper()}_PORT"]
    assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "infrastructure.alive", port]
    assert service["command"] == ["python", "-m", "gateway" if name == "gateway" else f"services.{name}"]


@pytest.mark.parametrize("name", [*OURS, "bootstrap", "bootstrap-identity"])
def test_every_address_that_a_process_is_told_is_reachable_and_listens(name: str) -> None:
    wrong = []
    for variable, value in environment_of(name).items():
        # A password may look like a port.
        for host, port in ADDRESS.findall(CREDENTIALS.sub("//", value)):
            if host in {"http", "https"}:
                continue
            listening = _listening(host)
            if int(port) not in listening:
                wrong.append(
                    f"{variable}: {host} listens on {sorted(listening) or 'nothing, there is no such service'}"
                )
            elif host != name and not networks_of(name) & networks_of(host):
                wrong.append(f"{variable}: {name} and {host} share no network")
    assert wrong == []


def _listening(host: str) -> set[int]:
    if host in OURS:
        return {int(environment_of(host)[f"{host.upper()}_PORT"])}
    return LISTENS.get(host, set()) if host in services() else set()


def test_every_route_leads_to_a_service_beside_traefik_that_listens() -> None:
    routes = traefik_routes()
    targets = [
        server["url"].removeprefix("http://")
        for service in routes["http"]["services"].values()
        for server in service["loadBalancer"]["servers"]
    ]
    targets += [
        server["address"]
        for service in routes["tcp"]["services"].values()
        for server in service["loadBalancer"]["servers"]
    ]
    assert targets
    for target in targets:
        host, port = target.split(":")
        assert int(port) in _listening(host), target
        assert "edge" in networks_of(host), target


def test_every_router_names_parts_that_there_are() -> None:
    for kind in ("http", "tcp"):
        part = traefik_routes()[kind]
        for name, router in part["routers"].items():
            assert router["service"] in part["services"], name
            assert set(router.get("middlewares", ())) <= part.get("middlewares", {}).keys(), name
    assert {router["service"] for router in traefik_routes()["http"]["routers"].values()} == {
        *traefik_routes()["http"]["services"]
    }


def test_every_host_name_has_a_route_and_is_known_inside_too() -> None:
    names = ("api", "operator", "portal", "partner", "id", "mail", "files", "office", "wopi", "watch")
    rules = [router["rule"] for router in traefik_routes()["http"]["routers"].values()]
    routed = sorted(host for rule in rules for host in re.findall(r"Host\(`([^`]+)`\)", rule))
    assert routed == sorted(f"{name}.{DOMAIN}" for name in names)
    assert sorted(services()["traefik"]["networks"]["edge"]["aliases"]) == routed


def test_what_the_gateway_says_of_itself_is_not_said_outside() -> None:
    """Nobody outside has use for these three. The router to the other names only redirects."""
    rule = traefik_routes()["http"]["routers"]["api"]["rule"]
    assert all(f"&& !Path(`{path}`)" in rule for path in ("/livez", "/readyz", "/metrics")), rule


def test_the_gateway_routes_to_all_services_and_health_probes_all_but_itself() -> None:
    upstreams = json.loads(environment_of("gateway")["GATEWAY_UPSTREAMS"])
    assert sorted(upstreams) == sorted(process.name for process in processes.SERVICES)
    assert {host: f"http://{host}" for host in upstreams} == {
        host: url.rpartition(":")[0] for host, url in upstreams.items()
    }
    probed = json.loads(environment_of("health")["HEALTH_SERVICES"])
    assert probed.keys() == {"gateway", *upstreams} - {"health"}


@pytest.mark.parametrize("name", sorted(processes.OWNERS))
def test_a_projection_is_built_from_the_owners_that_the_local_fleet_asks(name: str) -> None:
    owners = json.loads(environment_of(name)[f"{name.upper()}_OWNERS"])
    assert sorted(owners) == sorted(processes.OWNERS[name])
    assert all(url.startswith(f"http://{owner}:") for owner, url in owners.items())


def test_every_process_signs_with_a_key_whose_public_half_every_service_knows() -> None:
    for service in set(OURS) - {"gateway"}:
        public = json.loads(environment_of(service)["INTERNAL_PUBLIC_KEYS"])
        for name in OURS:
            entry = public.pop(environment_of(name)[f"{name.upper()}_INTERNAL_SIGNING_KID"])
            seed = decode_key(environment_of(name)[f"{name.upper()}_INTERNAL_SIGNING_KEY"])
            half = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            assert (entry["owner"], decode_key(entry["x"])) == (name, half)
        assert public == {}


def test_forwarded_addresses_are_believed_of_traefik_alone() -> None:
    address = services()["traefik"]["networks"]["edge"]["ipv4_address"]
    assert json.loads(environment_of("gateway")["GATEWAY_TRUSTED_PROXIES"]) == [f"{address}/32"]
    assert environment_of("authentik-server")["AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS"] == f"{address}/32"


def test_tokens_are_trusted_of_the_issuers_that_authentik_has_behind_its_host_name() -> None:
    providers = {row["surface"]: row for row in json.loads(environment_of("gateway")["GATEWAY_PROVIDERS"])}
    for surface in ("operator", "portal"):
        assert providers[surface]["issuer"] == f"https://id.{DOMAIN}/application/o/dezky-{surface}/"
        assert providers[surface]["audiences"] == [f"dezky-{surface}"]


def test_mail_and_files_tell_the_audit_log_where_it_listens() -> None:
    audit, ocis = services()["audit"], services()["ocis"]
    path = audit["environment"]["AUDIT_OCIS_AUDIT_FILE"]
    assert ocis["environment"]["AUDIT_FILEPATH"] == path
    assert (ocis["environment"]["AUDIT_LOG_TO_FILE"], ocis["environment"]["AUDIT_FORMAT"]) == ("true", "json")
    folder = path.rpartition("/")[0]
    assert f"ocis-audit:{folder}" in ocis["volumes"]
    assert f"ocis-audit:{folder}:ro" in audit["volumes"]


@pytest.mark.parametrize("name", ["bootstrap", "bootstrap-identity"])
def test_the_bootstrap_job_starts_with_what_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environment_of(name)
    assert sorted(environment.keys() - {variable.name for variable in variables_of(BootstrapSettings)}) == []
    only(monkeypatch, environment)
    settings = load(BootstrapSettings)
    if name == "bootstrap":
        assert settings.mongo_passwords().keys() == MONGO_USERS.keys()
    else:
        assert settings.public_url == environment_of("gateway")["GATEWAY_PUBLIC_URL"]


def test_what_the_bootstrap_job_makes_is_what_the_services_use() -> None:
    job = environment_of("bootstrap") | environment_of("bootstrap-identity")
    shared = [(name, variable) for name in OURS for variable in environment_of(name).keys() & job.keys()]
    assert {f"{user.upper()}_MONGO_URI" for user in MONGO_USERS} <= {variable for _, variable in shared}
    assert [pair for pair in shared if job[pair[1]] != environment_of(pair[0])[pair[1]]] == []
