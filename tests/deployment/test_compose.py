"""The rules of the deployment: who reaches whom, what a container may do, where secrets come from, what is pinned."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml

from infrastructure.compose.documents import EXAMPLE
from infrastructure.compose.dotenv import read
from infrastructure.compose.variables import DEPLOYMENT
from infrastructure.docs.discovery import ROOT
from tests.deployment.composition import (
    JOBS,
    OURS,
    PROFILES,
    Interpolation,
    composed,
    example,
    networks_of,
    of_profile,
    on_network,
    raw,
    services,
)

pytestmark = pytest.mark.unit

# Each with its reason, which stands beside it in the file: Authentik, ownCloud and Collabora write where they like.
WRITE_THEIR_ROOT = {"authentik-server", "authentik-worker", "ocis", "collabora"}
CAPABILITIES = {
    "stalwart": ["NET_BIND_SERVICE"],
    "ocis-prepare": ["CHOWN"],
    "collabora": ["CHOWN", "FOWNER", "MKNOD", "SYS_CHROOT"],
}
MAY_GAIN_PRIVILEGES = {"collabora"}
# No two independent sources of their digests were at hand; docs/deployment.md says so, too.
WITHOUT_DIGEST = {"stalwartlabs/stalwart:v0.16.18", "owncloud/ocis:8.0.5", "collabora/code:25.04.9.4.1"}

SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|(?<!PUBLIC_)KEYS?(?![A-Z])|KEK|RECOVERY_ADMIN", re.IGNORECASE
)
REFERENCE = re.compile(r"(?<!\$)\$\{[^}]*\}")
REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
NAME = re.compile(r"\$\{(\w+)")
PASSWORD_IN_URI = re.compile(r"://[^/\s:@]*:([^@\s]*)@")
SECRET_IN_JSON = re.compile(r'"\w*(?:secret|password|token|seed)"\s*:\s*"([^"]*)"', re.IGNORECASE)


def each() -> Any:
    return pytest.mark.parametrize("name", sorted(services()))


def test_the_file_is_what_the_compose_specification_allows() -> None:
    """The schema is the specification's own (Apache-2.0), as it was in November 2026."""
    schema = json.loads((ROOT / "tests" / "deployment" / "compose-spec.json").read_text(encoding="utf-8"))
    assert [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(composed())] == []


def test_all_that_the_fleet_needs_is_there_in_its_profile() -> None:
    assert of_profile("core") == {"traefik", "mongo", "nats", "s3", "bootstrap", *OURS}
    assert {
        "authentik-server",
        "authentik-worker",
        "authentik-postgres",
        "stalwart",
        "ocis",
        "collabora",
    } <= of_profile("suite")
    assert of_profile("watch") == {"prometheus", "grafana"}
    assert {profile for service in services().values() for profile in service["profiles"]} == set(PROFILES)


def test_only_traefik_publishes_ports() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["traefik"]
    assert [name for name, service in services().items() if service.get("network_mode", "none") != "none"] == []


def test_only_traefik_and_the_mail_server_reach_the_world() -> None:
    open_networks = {name for name, network in composed()["networks"].items() if not network.get("internal")}
    assert open_networks == {"public", "outbound"}
    assert on_network("public") == {"traefik"}
    assert on_network("outbound") == {"stalwart"}
    assert [name for name in services() if "network_mode" not in services()[name] and not networks_of(name)] == []


def test_of_our_own_only_the_gateway_stands_beside_traefik() -> None:
    assert on_network("edge") & of_profile("core") == {"traefik", "gateway"}


def test_the_databases_are_reached_by_their_users_alone() -> None:
    services_of_ours = {*OURS} - {"gateway"}
    assert networks_of("mongo") == {"data"}
    assert on_network("data") == {"mongo", "bootstrap", *services_of_ours}
    assert networks_of("s3") == {"objects"}
    assert on_network("objects") == {"s3", "bootstrap", "audit", "health"}
    assert networks_of("nats") == {"core"}
    assert on_network("core") == {"nats", "bootstrap", "prometheus", *OURS}
    assert on_network("identity") == {"authentik-postgres", "authentik-server", "authentik-worker", "health"}


@each()
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert ("no-new-privileges:true" in service["security_opt"]) == (name not in MAY_GAIN_PRIVILEGES)
    assert service["read_only"] == (name not in WRITE_THEIR_ROOT)
    assert not service.get("privileged")
    assert not service.keys() & {"pid", "ipc", "devices", "userns_mode", "cgroup_parent", "extra_hosts"}


@each()
def test_a_container_has_limits(name: str) -> None:
    service = services()[name]
    assert re.fullmatch(r"[1-9][0-9]*[mg]", service["mem_limit"])
    assert 0 < service["cpus"] <= 2
    assert 0 < service["pids_limit"] <= 1024
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@pytest.mark.parametrize("name", [*OURS, "bootstrap", "bootstrap-identity"])
def test_our_own_run_as_the_user_of_the_image(name: str) -> None:
    service = services()[name]
    assert service["user"] == "10001:10001"
    assert service["image"] == f"dezky:{example()['DEZKY_VERSION']}"
    assert service["build"]["dockerfile"] == "infrastructure/Dockerfile"


@each()
def test_a_container_says_whether_it_is_well(name: str) -> None:
    check = services()[name]["healthcheck"]
    if name in JOBS:
        assert check == {"disable": True}
        assert services()[name]["restart"] != "unless-stopped"
    else:
        assert check["test"][0] == "CMD"
        assert check.keys() >= {"interval", "timeout", "retries"}


@each()
def test_an_image_is_pinned(name: str) -> None:
    image = services()[name]["image"]
    tag = re.search(r":(v?[0-9][\w.-]*)(@sha256:[0-9a-f]{64})?$", image)
    assert tag, f"{image}: name a version"
    assert tag[2] or image.startswith("dezky:") or image in WITHOUT_DIGEST, f"{image}: name its digest"


def test_images_without_a_digest_are_named_where_somebody_looks() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert [image for image in WITHOUT_DIGEST if f"`{image}`" not in page] == []


def test_mongodb_is_new_enough_and_a_replica_set_with_a_key() -> None:
    version = re.search(r"mongo:(\d+)\.(\d+)\.(\d+)", services()["mongo"]["image"])
    assert version
    assert tuple(int(part) for part in version.groups()) >= (8, 0, 21)
    script = services()["mongo"]["command"][0]
    assert "--replSet rs0" in script
    assert "--keyFile /run/dezky/mongod.key" in script


def test_whoever_is_waited_for_is_there_and_can_become_what_is_waited_for() -> None:
    for name, service in services().items():
        for other, wait in service.get("depends_on", {}).items():
            condition, disabled = wait["condition"], services()[other]["healthcheck"].get("disable")
            assert condition == "service_completed_successfully" or not disabled, f"{name} waits for {other}"
            assert (condition == "service_completed_successfully") <= (other in JOBS), f"{name} waits for {other}"
            together = set(service["profiles"]) <= set(services()[other]["profiles"])
            assert together or wait.get("required") is False, f"{name} alone cannot start without {other}"


def test_nobody_waits_in_a_circle() -> None:
    waiting = {name: set(service.get("depends_on", {})) for name, service in services().items()}
    while free := {name for name, others in waiting.items() if not others}:
        waiting = {name: others - free for name, others in waiting.items() if name not in free}
    assert waiting == {}


def test_every_volume_is_used_and_every_file_of_ours_that_is_mounted_is_read_only() -> None:
    used, written = set(), []
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                written += [] if mode == ["ro"] else [f"{name}: {volume}"]
            else:
                used.add(source)
            assert "docker.sock" not in target
    assert used == set(composed()["volumes"])
    assert written == []


@pytest.mark.parametrize(
    "file",
    sorted(
        volume.split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ),
)
def test_every_file_that_is_mounted_is_there(file: str) -> None:
    assert (ROOT / file).exists()


def test_prometheus_asks_every_process_of_ours_where_it_listens() -> None:
    file = ROOT / "infrastructure" / "prometheus" / "prometheus.yml"
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    asked = {
        name: looked["port"] for job in jobs for looked in job.get("dns_sd_configs", ()) for name in looked["names"]
    }
    assert {
        name: int(services()[name]["environment"][f"{name.upper()}_PORT"]) for name in OURS
    }.items() <= asked.items()
    assert all(networks_of(name) & networks_of("prometheus") for name in asked)


# ---- secrets ----


def said(name: str) -> Iterator[tuple[str, str]]:
    for variable, value in raw()["services"][name].get("environment", {}).items():
        yield variable, str(value)


@each()
def test_no_secret_is_in_clear(name: str) -> None:
    shown = []
    for variable, value in said(name):
        rest = REFERENCE.sub("\0", value)
        parts = [*PASSWORD_IN_URI.findall(rest), *SECRET_IN_JSON.findall(rest)]
        if SECRET_NAME.search(variable) and "://" not in value:
            parts.append(rest.removeprefix("admin:").strip('"'))
        shown += [f"{variable}: {part!r}" for part in parts if part not in {"\0", "true", "false"}]
    assert shown == []


@each()
def test_a_secret_must_be_set(name: str) -> None:
    harmless = {variable.name for variable in DEPLOYMENT if variable.make is None}
    lenient = [
        reference
        for _, value in said(name)
        for reference in REFERENCE.findall(value)
        if not REQUIRED.fullmatch(reference) and NAME.findall(reference)[0] not in harmless
    ]
    assert lenient == []


@each()
def test_no_secret_is_on_a_command_line(name: str) -> None:
    harmless = {variable.name for variable in DEPLOYMENT if variable.make is None}
    service = raw()["services"][name]
    lines = json.dumps([service.get(part) for part in ("command", "entrypoint", "healthcheck", "labels", "image")])
    assert set(NAME.findall(lines.replace("$$", ""))) <= harmless


def test_the_example_names_every_variable_that_is_used_and_no_other() -> None:
    interpolation = Interpolation(example())
    interpolation.apply(raw())
    assert read(EXAMPLE).keys() == interpolation.used


def test_without_variables_nothing_starts() -> None:
    with pytest.raises(LookupError, match="run make deployment-env"):
        Interpolation(read(EXAMPLE)).apply(raw())


def test_a_default_in_the_file_is_the_default_of_the_example() -> None:
    interpolation = Interpolation({name: value for name, value in example().items() if not read(EXAMPLE)[name]})
    assert interpolation.apply(raw()) == composed()
    assert interpolation.optional == {name for name, value in read(EXAMPLE).items() if value}


def test_the_example_holds_no_secret() -> None:
    kept = {variable.name: variable.default for variable in DEPLOYMENT}
    assert {name: value for name, value in read(EXAMPLE).items() if value != kept.get(name, "")} == {}
