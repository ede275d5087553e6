"""The fleet as a table, one row per process. A new service also needs its row in `shared/topology.py`."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials, key_id
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import ROOT, Place
from infrastructure.local.servers import binaries
from infrastructure.local.servers.mongod import REPLICA_SET, mongod_command
from infrastructure.local.servers.nats import nats_command

MONGOD_OFFSET = 30
NATS_OFFSET = 31
NATS_MONITOR_OFFSET = 32
LOCAL_GRACE_SECONDS = 25
S3_PARTS = {"master": 34, "volume": 35, "filer": 36}

Environment = Callable[[Place, Credentials], Mapping[str, str]]
Command = Callable[[Place], list[str]]


@dataclass(frozen=True)
class Process:
    """One child process.

    Attributes:
        offset: its port's distance from the base; `extra_offsets` those of its other ports, by use.
        ready_path: GET on `ready_offset` (else `offset`) that answers 200 or 204 when the process is ready;
            None means that an accepted connection is enough.
        required: `up` waits for it, and `status` fails without it.
        needs: whose absence it cannot work through. It starts beside them all the same, and waits by itself;
            it is stopped before them.
        grace_seconds: from SIGTERM to SIGKILL.
    """

    name: str
    offset: int
    command: Command
    environment: Environment
    ready_path: str | None = None
    ready_offset: int | None = None
    required: bool = True
    needs: tuple[str, ...] = ()
    grace_seconds: float = 15.0
    extra_offsets: Mapping[str, int] = field(default_factory=dict)

    @property
    def offsets(self) -> dict[str, int]:
        """Every port it listens on, by what it is for."""
        return {self.name: self.offset} | {f"{self.name} {use}": at for use, at in self.extra_offsets.items()}


def _module(name: str) -> Command:
    return lambda _place: [sys.executable, "-m", name]


def _mongod(place: Place) -> list[str]:
    return mongod_command(place.state / "mongod", place.port(MONGOD_OFFSET), place.secrets / "mongod.key")


def _authentik(place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "infrastructure.sandbox.authentik"),
        *("--port", str(place.port(seeds.AUTHENTIK_OFFSET))),
        *("--state", str(place.state / "authentik")),
        *("--seed", str(seeds.authentik_file(place))),
    ]


def _stalwart(place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "infrastructure.sandbox.stalwart"),
        *("--port", str(place.port(seeds.STALWART_OFFSET))),
        *("--state", str(place.state / "stalwart")),
        *("--seed", str(seeds.stalwart_file(place))),
    ]


def _ocis(place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "infrastructure.sandbox.ocis"),
        *("--port", str(place.port(seeds.OCIS_OFFSET))),
        *("--state", str(place.state / "ocis")),
        *("--seed", str(seeds.ocis_file(place))),
    ]


def _s3(place: Place) -> list[str]:
    """SeaweedFS, S3 and what lies under it in one process; telemetry is on unless it is turned off."""
    folder = place.state / "s3"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        *(str(binaries.weed_binary()), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-filer", "-s3", f"-s3.port={place.port(seeds.S3_OFFSET)}", f"-s3.config={seeds.s3_file(place)}"),
        *(f"-{part}.port={place.port(offset)}" for part, offset in S3_PARTS.items()),
        *("-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s"),
        *("-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    ]


def _nothing(_place: Place, _credentials: Credentials) -> dict[str, str]:
    return {}


def mongo_uri(place: Place, credentials: Credentials, user: str, database: str) -> str:
    """The URI of a user who is defined in, and confined to, `database`."""
    address = f"127.0.0.1:{place.port(MONGOD_OFFSET)}"
    return (
        f"mongodb://{user}:{credentials.mongo[user]}@{address}/{database}"
        f"?replicaSet={REPLICA_SET}&authSource={database}"
    )


def nats_url(place: Place, credentials: Credentials, user: str) -> str:
    """The URL of a NATS user."""
    return f"nats://{user}:{credentials.nats[user]}@127.0.0.1:{place.port(NATS_OFFSET)}"


def _common(place: Place, credentials: Credentials, name: str, offset: int) -> dict[str, str]:
    """What the gateway and every service are told, each under its own prefix; the keys of all are shared."""
    own = {
        "HOST": "127.0.0.1",
        "PORT": str(place.port(offset)),
        "NATS_URL": nats_url(place, credentials, name),
        "INTERNAL_SIGNING_KEY": credentials.signing[name],
        "INTERNAL_SIGNING_KID": key_id(name),
        "LOG_LEVEL": "INFO",
    }
    return {f"{name.upper()}_{variable}": value for variable, value in own.items()} | {
        "INTERNAL_PUBLIC_KEYS": json.dumps(credentials.public_keys()),
        "DEZKY_ENVIRONMENT": "local",
    }


def _owners(place: Place, names: tuple[str, ...]) -> str:
    """Where the services named answer, as JSON."""
    return json.dumps({service.name: place.url(service.offset) for service in SERVICES if service.name in names})


# Whose snapshots the projections of a service are built from.
OWNERS: Mapping[str, tuple[str, ...]] = {
    "tenant": ("partner", "billing"),
    "partner": ("tenant", "billing"),
    "billing": ("tenant",),
    "flags": ("tenant",),
}


def _service_environment(name: str, offset: int, extra: Environment) -> Environment:
    def build(place: Place, credentials: Credentials) -> dict[str, str]:
        database = {
            f"{name.upper()}_MONGO_URI": mongo_uri(place, credentials, name, name),
            f"{name.upper()}_MONGO_DATABASE": name,
        }
        owners = {f"{name.upper()}_OWNERS": _owners(place, OWNERS[name])} if name in OWNERS else {}
        return _common(place, credentials, name, offset) | database | owners | dict(extra(place, credentials))

    return build


def _service(name: str, offset: int, extra: Environment = _nothing) -> Process:
    return Process(
        name=name,
        offset=offset,
        command=_module(f"services.{name}"),
        environment=_service_environment(name, offset, extra),
        ready_path="/readyz",
        needs=("mongod", "nats"),
    )


def _tenant(place: Place, credentials: Credentials) -> dict[str, str]:
    return {
        "TENANT_AUTHENTIK_URL": place.url(seeds.AUTHENTIK_OFFSET),
        "TENANT_AUTHENTIK_TOKEN": credentials.authentik[seeds.API_TOKEN],
        "TENANT_AUTHENTIK_SUITE_CLIENT": seeds.SUITE,
        "TENANT_STALWART_URL": place.url(seeds.STALWART_OFFSET),
        "TENANT_STALWART_API_KEY": seeds.stalwart_key(credentials),
        "TENANT_OCIS_URL": place.url(seeds.OCIS_OFFSET),
        "TENANT_OCIS_TOKEN": credentials.suite["ocis"],
        "TENANT_CERTIFICATE_KEY": credentials.tenant["certificate"],
        "TENANT_DELETION_GRACE_DAYS": grace_days(os.environ),
    }


def grace_days(environment: Mapping[str, str]) -> str:
    """How long a deleted tenant can be restored on this machine: short, so that an erasure can be watched.

    Raises Obstacle.
    """
    text = environment.get("DEZKY_DELETION_GRACE_SECONDS") or str(LOCAL_GRACE_SECONDS)
    if not (text.isascii() and text.isdigit()):
        raise Obstacle(f"DEZKY_DELETION_GRACE_SECONDS is {text!r}", "Set it to whole seconds, or leave it out")
    return f"{int(text) / 86_400:.9f}"


def _s3_environment(_place: Place, credentials: Credentials) -> dict[str, str]:
    return {"WEED_S3_SSE_KEK": seeds.s3_key_of_keys(credentials)}


def _audit(place: Place, credentials: Credentials) -> dict[str, str]:
    return {
        "AUDIT_SIGNING_KEY": credentials.audit["signing"],
        "AUDIT_PERSONAL_KEY": credentials.audit["personal"],
        "AUDIT_AUTHENTIK_URL": place.url(seeds.AUTHENTIK_OFFSET),
        "AUDIT_AUTHENTIK_TOKEN": credentials.authentik[seeds.API_TOKEN],
        "AUDIT_STALWART_WEBHOOK_KEY": credentials.suite["stalwart-webhook"],
        "AUDIT_OCIS_AUDIT_FILE": str(place.state / "ocis" / "audit.log"),
        "AUDIT_CHECKPOINT_KEYS": json.dumps([{"seed": credentials.audit["checkpoint"]}]),
        "AUDIT_COLD_ENDPOINT": place.url(seeds.S3_OFFSET),
        "AUDIT_COLD_REGION": "local",
        "AUDIT_COLD_BUCKET": seeds.ARCHIVE_BUCKET,
        "AUDIT_COLD_ACCESS_KEY": credentials.suite["s3-access"],
        "AUDIT_COLD_SECRET_KEY": credentials.suite["s3-secret"],
        "AUDIT_COLD_SSE": "true",
        "AUDIT_COLD_RETENTION_DAYS": "1",
        "AUDIT_WITNESS_BUCKET": seeds.witness_bucket(),
        "AUDIT_ARCHIVE_ENABLED": "true",
        "AUDIT_ARCHIVER_MONGO_URI": mongo_uri(place, credentials, "audit_archiver", "audit"),
    }


def _health(place: Place, _credentials: Credentials) -> dict[str, str]:
    probed = {service.name: place.url(service.offset) for service in SERVICES if service.name != "health"}
    return {
        "HEALTH_SERVICES": json.dumps({"gateway": place.url(GATEWAY_OFFSET)} | probed),
        "HEALTH_NATS_MONITOR": place.url(NATS_MONITOR_OFFSET),
        "HEALTH_AUTHENTIK": place.url(seeds.AUTHENTIK_OFFSET),
        "HEALTH_STALWART": f"127.0.0.1:{place.port(seeds.STALWART_OFFSET)}",
        "HEALTH_OCIS": place.url(seeds.OCIS_OFFSET),
        "HEALTH_S3": place.url(seeds.S3_OFFSET),
    }


def _gateway(place: Place, credentials: Credentials) -> dict[str, str]:
    providers = [
        {
            "issuer": seeds.issuer(place, surface),
            "audiences": [seeds.client_id(surface)],
            "algorithms": ["RS256"],
            "surface": surface,
            "identityProvider": "authentik",
        }
        for surface in seeds.SURFACES
    ]
    clients = {
        surface: {
            "clientId": seeds.client_id(surface),
            "clientSecret": credentials.authentik[seeds.client_id(surface)],
        }
        for surface in seeds.SURFACES
    }
    upstreams = {service.name: place.url(service.offset) for service in SERVICES}
    return _common(place, credentials, "gateway", GATEWAY_OFFSET) | {
        "GATEWAY_PUBLIC_URL": place.url(GATEWAY_OFFSET),
        "GATEWAY_PROVIDERS": json.dumps(providers),
        "GATEWAY_SIGN_IN": json.dumps(clients),
        "GATEWAY_SESSION_KEY": credentials.gateway["session"],
        "GATEWAY_UPSTREAMS": json.dumps(upstreams),
        "GATEWAY_TRUSTED_PROXIES": "[]",
    }


GATEWAY_OFFSET = 0
SERVICES: tuple[Process, ...] = (
    _service("tenant", 1, _tenant),
    _service("partner", 2),
    _service("billing", 3),
    _service("flags", 4),
    _service("audit", 5, _audit),
    _service("health", 6, _health),
)

PROCESSES: tuple[Process, ...] = (
    Process("mongod", MONGOD_OFFSET, _mongod, _nothing),
    Process(
        "nats",
        NATS_OFFSET,
        lambda place: nats_command(place.secrets / "nats.conf"),
        _nothing,
        ready_path="/healthz",
        ready_offset=NATS_MONITOR_OFFSET,
        extra_offsets={"monitor": NATS_MONITOR_OFFSET},
    ),
    Process("authentik", seeds.AUTHENTIK_OFFSET, _authentik, _nothing, ready_path="/-/health/ready/"),
    # Its health pages count against the limit for callers without a name; the stand-in's own do not.
    Process("stalwart", seeds.STALWART_OFFSET, _stalwart, _nothing, ready_path="/_sandbox/faults"),
    Process("ocis", seeds.OCIS_OFFSET, _ocis, _nothing, ready_path="/status.php"),
    Process(
        "s3",
        seeds.S3_OFFSET,
        _s3,
        _s3_environment,
        ready_path="/healthz",
        required=False,
        extra_offsets=S3_PARTS,
        # It lingers for 15 s, and has synced what it acknowledged: a SIGKILL loses nothing.
        grace_seconds=1.0,
    ),
    *SERVICES,
    Process(
        "gateway",
        GATEWAY_OFFSET,
        _module("gateway"),
        _gateway,
        ready_path="/readyz",
        needs=(*(service.name for service in SERVICES), "authentik", "nats"),
    ),
)

PASSED_ON = ("OTEL_EXPORTER_OTLP_ENDPOINT",)
"""Variables of whoever starts the fleet that its processes see, too."""

NATS_USERS: tuple[str, ...] = ("gateway", *(service.name for service in SERVICES))


def minimal_environment() -> dict[str, str]:
    """What every child gets beside its own: where programs and modules are, prompt, readable output; where spans go."""
    return {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)} | {
        "PATH": f"{sys.exec_prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def stop_order(processes: tuple[Process, ...] = PROCESSES) -> list[list[str]]:
    """Names in the order of stopping: each group is gone before the next, which it needs, is asked to go."""
    remaining = {process.name: set(process.needs) for process in processes}
    groups: list[list[str]] = []
    while remaining:
        needed = set().union(*remaining.values())
        group = [name for name in remaining if name not in needed]
        if not group:
            raise ValueError(f"these processes need each other: {', '.join(remaining)}")
        groups.append(group)
        for name in group:
            del remaining[name]
    return groups
