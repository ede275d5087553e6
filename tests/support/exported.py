"""Which metrics the processes of the fleet register, with their labels: by importing all of their modules."""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import gateway
import services
import shared
from gateway.telemetry import RequestLines, Telemetry

SCRAPE = frozenset({"job", "instance"})
"""What Prometheus adds to every series of a target."""
ITS_OWN = {"up": SCRAPE, "ALERTS": frozenset({"alertname", "alertstate", "severity"})}


@cache
def registered() -> Mapping[str, frozenset[str]]:
    """The name of every series that the product can export, and the labels that it bears."""
    for package in (gateway, services, shared):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and not module.name.startswith("shared.testing"):
                importlib.import_module(module.name)
    found: dict[str, frozenset[str]] = {}
    collectors: Any = REGISTRY._collector_to_names
    for collector, names in collectors.items():
        labels = frozenset(getattr(collector, "_labelnames", ()))
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    for name, seen in scraped(_of_gateway()).items():
        found[name] = found.get(name, frozenset()) | seen
    return found


def scraped(text: str) -> dict[str, frozenset[str]]:
    """The same, as an exposition says; a metric that has no series yet has no labels yet."""
    found: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name, frozenset())
        if family.type == "counter":
            found.setdefault(f"{family.name}_total", frozenset())
        elif family.type == "histogram":
            for part in ("bucket", "count", "sum"):
                found.setdefault(f"{family.name}_{part}", frozenset())
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | frozenset(sample.labels)
    return found


def _of_gateway() -> str:
    """What the gateway counts by itself, after one request of each kind."""
    pool = SimpleNamespace(busy=0, idle=0, waiting=0)
    upstream: Any = SimpleNamespace(pool=pool)
    telemetry = Telemetry({"tenant": upstream}, RequestLines(io.BytesIO(), enabled=False))
    telemetry.request("GET", "/api/tenants", 200, 0.1, "r-1", "0" * 32)
    telemetry.refused("invalid_request", "127.0.0.1")
    return telemetry.exposition()[0].decode()
