"""Probes: each looks at one target from configuration, for at most 1.5 seconds, and says what is wrong in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx

from services.health.models import DEADLINE_SECONDS, Seen
from services.health.settings import HealthSettings

Look = Callable[[], Awaitable[str | None]]
"""Looks once: returns a warning or None, raises for an outage."""


class Trouble(Exception):
    """The target answered, and it is not well."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A named probe; without a look there is no target."""

    name: str
    look: Look | None

    async def run(self) -> Seen | None:
        """Look once, within the deadline. Never raises."""
        if self.look is None:
            return None
        started = time.perf_counter()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                warning = await self.look()
        except TimeoutError:
            return Seen(error=f"no answer within {DEADLINE_SECONDS:g} s")
        except Trouble as trouble:
            return Seen(_ms(started), error=str(trouble))
        except (OSError, httpx.HTTPError) as error:
            return Seen(error=_in_words(error))
        except Exception as error:  # noqa: BLE001 - a probe that cannot say what it saw is a probe that saw trouble
            return Seen(error=f"unreadable: {type(error).__name__}")
        return replace(Seen(_ms(started)), warning=warning)


def _ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _in_words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError | httpx.ConnectError):
        return "refused the connection"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def tcp(address: str) -> Look | None:
    """A connection to ``host:port`` is accepted."""
    if not address:
        return None
    host, _, port = address.rpartition(":")

    async def look() -> None:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
        await writer.wait_closed()

    return look


def http(client: httpx.AsyncClient, base: str, path: str, *, statuses: tuple[int, ...] = (200, 204)) -> Look | None:
    """GET answers with one of ``statuses``."""
    if not base:
        return None

    async def look() -> None:
        answer = await client.get(base + path)
        if answer.status_code not in statuses:
            raise Trouble(f"answered {answer.status_code} to {path}")

    return look


def nats(client: httpx.AsyncClient, monitor: str) -> Look | None:
    """The server is healthy, and JetStream syncs before it acknowledges: a kill does not test that, only this does."""
    if not monitor:
        return None

    async def look() -> None:
        if (await client.get(f"{monitor}/healthz")).status_code != httpx.codes.OK:
            raise Trouble("calls itself unhealthy")
        answer: dict[str, Any] = (await client.get(f"{monitor}/jsz")).json()
        if not answer.get("config", {}).get("sync_always"):
            raise Trouble("does not sync before it acknowledges (sync_interval: always)")

    return look


def dead_letters(client: httpx.AsyncClient, monitor: str, stream: str) -> Look | None:
    """Nothing lies in the dead letters."""
    if not monitor:
        return None

    async def look() -> str | None:
        answer: dict[str, Any] = (await client.get(f"{monitor}/jsz", params={"streams": "true"})).json()
        streams = [s for account in answer.get("account_details", []) for s in account.get("stream_detail", [])]
        waiting = sum(s["state"]["messages"] for s in streams if s["name"] == stream)
        return f"{waiting} events wait to be looked at" if waiting else None

    return look


def outbox(client: httpx.AsyncClient, base: str, most: int = 1_000) -> Look | None:
    """The outbox of a service does not pile up."""
    if not base:
        return None

    async def look() -> str | None:
        lines = (await client.get(f"{base}/metrics")).text.splitlines()
        pending = sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("dezky_outbox_pending{"))
        return f"{pending:.0f} events wait to be published" if pending > most else None

    return look


Token = Callable[[str], str]
"""Returns a token of this process for a service."""


def projections(client: httpx.AsyncClient, services: dict[str, str], token: Token) -> Look | None:
    """The projections of all services agree with their owners, as of the newest comparisons.

    A service that does not answer says nothing of its projections: it has a probe of its own.
    """
    if not services:
        return None

    async def of(name: str, base: str) -> list[str]:
        try:
            answer = await client.get(
                f"{base}/internal/projections", headers={"authorization": f"Bearer {token(name)}"}
            )
        except httpx.HTTPError:
            return []
        if answer.status_code == httpx.codes.NOT_FOUND:  # it keeps none
            return []
        if answer.status_code != httpx.codes.OK:
            return [f"{name} answered {answer.status_code}"]
        return [words for item in answer.json()["items"] if (words := _about_projection(name, item))]

    async def look() -> str | None:
        found = await asyncio.gather(*(of(name, base) for name, base in services.items()))
        return "; ".join(words for part in found for words in part) or None

    return look


def _about_projection(service: str, item: dict[str, Any]) -> str:
    if wrong := sum(item["differences"].values()):
        least = "at least " if item["more"] else ""
        return f"{service}: {least}{wrong} rows of {item['name']} differ from {item['owner']}"
    return f"{service}: {item['name']} could not be compared: {item['trouble']}" if item["trouble"] else ""


def probes_of(
    settings: HealthSettings, client: httpx.AsyncClient, mongo: Look, dead_stream: str, token: Token
) -> list[Probe]:
    """Return every probe of the platform, in the order in which they are shown."""
    ocis = (
        http(client, settings.ocis_debug, "/healthz")
        if settings.ocis_debug
        else http(client, settings.ocis, "/status.php")
    )

    async def platform() -> None:
        """The health service itself is asked, so the platform's own answer is that there is one."""

    found = [
        Probe("platform", platform),
        Probe("authentik", http(client, settings.authentik, "/-/health/ready/")),
        Probe("stalwart", tcp(settings.stalwart)),
        Probe("ocis", ocis),
        Probe("collabora", http(client, settings.collabora, "/hosting/discovery")),
        Probe("mongo", mongo),
        Probe("nats", nats(client, settings.nats_monitor)),
        Probe("dead-letters", dead_letters(client, settings.nats_monitor, dead_stream)),
        Probe("s3", http(client, settings.s3, "/", statuses=(200, 204, 400, 403, 404))),
        Probe("postgres", tcp(settings.postgres)),
        Probe("redis", tcp(settings.redis)),
        Probe("traefik", tcp(settings.traefik)),
    ]
    keeping = {name: base for name, base in settings.services.items() if name != "gateway"}
    found.append(Probe("projections", projections(client, keeping, token)))
    for name, base in settings.services.items():
        found.append(Probe(f"service-{name}", http(client, base, "/readyz")))
        if name != "gateway":
            found.append(Probe(f"outbox-{name}", outbox(client, base)))
    return found
