"""`docker-compose.yml` as Compose reads it: variables put in, and what is said of a service found by its name.

The rules of interpolation are those of the Compose Specification, "Interpolation"; the client that is used in
`test_client.py`, where there is one, judges whether they are read right.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from infrastructure.compose.variables import complete
from infrastructure.docs.discovery import ROOT

FILE = ROOT / "docker-compose.yml"
PROFILES = ("core", "suite", "watch")
DOMAIN = "dezky.example"
OURS = ("gateway", "tenant", "partner", "billing", "flags", "audit", "health")
JOBS = ("bootstrap", "bootstrap-identity", "ocis-prepare")
_REFERENCE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>\w+)|\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<other>[^}]*))?\})")


@dataclass
class Interpolation:
    """Puts variables in, and remembers their names in `used`; `optional` are those that have a default."""

    environment: Mapping[str, str]
    used: set[str] = field(default_factory=set)
    optional: set[str] = field(default_factory=set)

    def apply(self, node: Any) -> Any:
        """A copy of `node` with every string interpolated. Raises LookupError for what must be set and is not."""
        if isinstance(node, str):
            return _REFERENCE.sub(self._value, node)
        if isinstance(node, list):
            return [self.apply(part) for part in node]
        if isinstance(node, dict):
            return {name: self.apply(part) for name, part in node.items()}
        return node

    def _value(self, match: "re.Match[str]") -> str:
        if match["escaped"]:
            return "$"
        name, kind = match["name"] or match["bare"], match["kind"] or ""
        self.used.add(name)
        value = self.environment.get(name)
        absent = value is None or (kind.startswith(":") and not value)
        if not absent:
            return str(value)
        if kind.endswith("-"):
            self.optional.add(name)
            return str(match["other"])
        if kind.endswith("?"):
            raise LookupError(f"{name}: {match['other']}")
        raise LookupError(f"{name} is not set, and nothing says what then")


@cache
def raw() -> dict[str, Any]:
    """The file as written, anchors and merges resolved."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return document


@cache
def example() -> dict[str, str]:
    """The variables of a deployment, as `make deployment-env` makes them."""
    person = f"operator@{DOMAIN}"
    said = {"DEZKY_DOMAIN": DOMAIN, "DEZKY_OPERATOR_EMAIL": person, "DEZKY_ACME_EMAIL": person}
    return complete(said)


@cache
def composed() -> dict[str, Any]:
    """The file with those variables put in."""
    document: dict[str, Any] = Interpolation(example()).apply(raw())
    return document


def services() -> dict[str, dict[str, Any]]:
    """Every service, by name."""
    found: dict[str, dict[str, Any]] = composed()["services"]
    return found


def of_profile(profile: str) -> set[str]:
    """Names of the services of a profile."""
    return {name for name, service in services().items() if profile in service["profiles"]}


def networks_of(name: str) -> set[str]:
    """Networks that a service is on."""
    return set(services()[name].get("networks", ()))


def on_network(network: str) -> set[str]:
    """Services on a network."""
    return {name for name in services() if network in networks_of(name)}


def traefik_routes() -> dict[str, Any]:
    """Traefik's routes as it reads them: its template applied to its own environment."""
    text = (ROOT / "infrastructure" / "compose" / "routes.yml").read_text(encoding="utf-8")
    environment = services()["traefik"]["environment"]
    rendered = re.sub(r'\{\{ env "(\w+)" \}\}', lambda match: environment[match[1]], text)
    routes: dict[str, Any] = yaml.safe_load(rendered)
    return routes
