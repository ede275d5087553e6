"""A real Prometheus that watches a fleet by the project's own rules, in time that runs faster.

What is shortened is how long something has to last and how large a number has to be, never what is asked: metrics,
labels and the shape of every expression are those of ``infrastructure/prometheus/rules``.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from infrastructure.local.place import ROOT, Place
from infrastructure.local.processes import GATEWAY_OFFSET, SERVICES
from tests.support.servers import free_port
from tests.support.waiting import eventually

RULES = ROOT / "infrastructure" / "prometheus" / "rules"
WINDOWS = {"5m": "10s", "10m": "60s", "15m": "60s", "30m": "20s", "1h": "30s", "6h": "40s", "3d": "50s"}
LEAST = {"> 300": "> 2", "> 900": "> 2", "> 1800": "> 2", "> 1000": "> 0", "> 5": "> 1", "> 3": "> 1", "> 2": "> 0"}
"""Thresholds in seconds, of numbers of events, and of failures in a window."""


def hastened(expr: str) -> str:
    """Return an expression with its windows and thresholds shortened."""
    expr = re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", expr)
    return re.sub(r"> \d+(?=\n|$)", lambda found: LEAST.get(found[0], found[0]), expr, flags=re.MULTILINE)


def hasten(source: Path, target: Path) -> None:
    """Write a file of rules anew, hastened."""
    document = yaml.safe_load(source.read_text())
    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = "\n".join(hastened(line) for line in _lines(rule["expr"]))
            if "for" in rule:
                rule["for"] = "2s"
    target.write_text(yaml.safe_dump(document))


def _lines(expr: str) -> list[str]:
    """An expression by its alternatives: each has a threshold at its end."""
    return re.split(r"\s+(?=(?:or|and) )", expr)


@dataclass
class Watch:
    """A running Prometheus."""

    url: str
    targets: Path
    place: Place

    def look_at(self, *names: str) -> None:
        """Name the processes that there are, as a look-up of names would."""
        offsets = {"gateway": GATEWAY_OFFSET, **{service.name: service.offset for service in SERVICES}}
        listed = [
            {"targets": [f"127.0.0.1:{self.place.port(offsets[name])}"], "labels": {"job": name}} for name in names
        ]
        staged = self.targets.with_suffix(".tmp")
        staged.write_text(json.dumps(listed))
        staged.replace(self.targets)

    async def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that fire now, by name."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as http:
            alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
        return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}

    async def quiet(self, *names: str, seconds: float = 120) -> None:
        """Wait until none of these alerts fires."""

        async def none_fires() -> bool:
            return not set(names) & (await self.firing()).keys()

        await eventually(none_fires, seconds=seconds, pause=0.5, what=f"{', '.join(names)} are quiet")

    async def fires(self, *names: str, seconds: float = 120) -> dict[str, float]:
        """Wait for alerts; return after how many seconds each had fired."""
        began, fired = time.monotonic(), dict[str, float]()

        async def all_fired() -> bool:
            for name in await self.firing():
                fired.setdefault(name, round(time.monotonic() - began, 1))
            return set(names) <= fired.keys()

        try:
            await eventually(all_fired, seconds=seconds, pause=0.5)
        except AssertionError:
            missing = sorted(set(names) - fired.keys())
            raise AssertionError(f"did not fire: {missing}; fired: {fired}") from None
        return {name: fired[name] for name in names}


@asynccontextmanager
async def watching(place: Place, folder: Path, binary: str) -> AsyncIterator[Watch]:
    """Run Prometheus over a fleet until the block ends."""
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for source in RULES.glob("*.yml"):
        hasten(source, rules / source.name)
    targets, port = folder / "targets.json", free_port()
    scrape = {"job_name": "fleet", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    watch = Watch(f"http://127.0.0.1:{port}", targets, place)
    watch.look_at("gateway", *(service.name for service in SERVICES))
    with (folder / "prometheus.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *(binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
            stdout=log,
            stderr=log,
        )
    try:
        await eventually(lambda: _ready(watch), seconds=30, what=(folder / "prometheus.log").read_text()[-500:])
        yield watch
    finally:
        child.kill()
        await child.wait()


async def _ready(watch: Watch) -> bool:
    try:
        async with httpx.AsyncClient(base_url=watch.url) as http:
            return (await http.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False
