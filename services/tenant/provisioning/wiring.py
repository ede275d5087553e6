"""The part of the composition root that is about provisioning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.tenant.authentik import Authentik
from services.tenant.people.onboarding import Onboarding
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.identity import IdentityBackend
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.jmap import Jmap
from services.tenant.provisioning.ledger import Ledger
from services.tenant.provisioning.libre_graph import LibreGraph
from services.tenant.provisioning.ocis import OcisBackend
from services.tenant.provisioning.reconciler import LEASE, Reconciler
from services.tenant.provisioning.remote import Backend
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.provisioning.stalwart import StalwartBackend
from services.tenant.provisioning.suite_probe import SuiteProbe
from services.tenant.provisioning.worker import ProvisioningWorker
from services.tenant.repository import TenantRepository
from services.tenant.settings import TenantSettings
from shared.app import Platform
from shared.contracts.tenant import Integration
from shared.leases import Lease


@dataclass(frozen=True, slots=True)
class Provisioning:
    """``worker`` is None while no integration is configured: tenants are then active at once."""

    intents: Intents
    worker: ProvisioningWorker | None
    backends: tuple[Backend, ...] = ()

    async def close(self) -> None:
        """Close the connections to every integration."""
        for backend in self.backends:
            await backend.close()


def wire_provisioning(
    platform: Platform, settings: TenantSettings, tenants: TenantRepository, authentik: Authentik | None
) -> Provisioning:
    """Wire it; connects to nothing yet."""
    mongo = platform.mongo
    rows, people = ProvisioningRepository(mongo), PeopleRepository(mongo)
    desires = Desires(tenants, people)
    backends = _backends(settings, desires, people, authentik)
    intents = Intents(rows, tuple(backends))
    if not backends:
        return Provisioning(intents, None)
    resync = timedelta(seconds=settings.resync_seconds)
    ledger = Ledger(rows, tenants, mongo.transactions, platform.outbox, platform.clock, resync)
    reconciler = Reconciler(ledger, desires, backends, lambda name: Lease(mongo.db, name, platform.holder, LEASE))
    return Provisioning(intents, ProvisioningWorker(mongo, rows, reconciler, resync), tuple(backends.values()))


def _backends(
    settings: TenantSettings, desires: Desires, people: PeopleRepository, authentik: Authentik | None
) -> dict[Integration, Backend]:
    """Return those that are configured; the settings have made sure that a URL has its credential."""
    found: dict[Integration, Backend] = {}
    if authentik is not None and settings.authentik_url is not None:
        probe = SuiteProbe(authentik, settings.authentik_url, settings.authentik_suite_client)
        found["authentik"] = IdentityBackend(authentik, Onboarding(authentik, people), desires, probe)
    if settings.stalwart_url is not None and settings.stalwart_api_key is not None:
        found["stalwart"] = StalwartBackend(Jmap(settings.stalwart_url, settings.stalwart_api_key.get_secret_value()))
    if settings.ocis_url is not None and settings.ocis_token is not None:
        found["ocis"] = OcisBackend(LibreGraph(settings.ocis_url, settings.ocis_token.get_secret_value()))
    return found
