"""The part of the composition root that is about provisioning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.tenant.authentik import Authentik
from services.tenant.people.onboarding import Onboarding
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.certificates.models import Signer
from services.tenant.provisioning.certificates.repository import INDEXES as CERTIFICATE_INDEXES
from services.tenant.provisioning.certificates.repository import CertificateRepository
from services.tenant.provisioning.certificates.service import Certificates
from services.tenant.provisioning.deletions import Deletions, Departures, Records
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.drift.repository import INDEXES as DRIFT_INDEXES
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.drift.service import DriftService
from services.tenant.provisioning.identity import IdentityBackend
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.jmap import Jmap
from services.tenant.provisioning.ledger import Ledger
from services.tenant.provisioning.libre_graph import LibreGraph
from services.tenant.provisioning.ocis import OcisBackend
from services.tenant.provisioning.reconciler import LEASE, Reconciler
from services.tenant.provisioning.remote import Backend
from services.tenant.provisioning.repository import INDEXES as ROW_INDEXES
from services.tenant.provisioning.repository import ProvisionedUsers, ProvisioningRepository
from services.tenant.provisioning.stalwart import StalwartBackend
from services.tenant.provisioning.suite_probe import SuiteProbe
from services.tenant.provisioning.worker import ProvisioningWorker, Timers
from services.tenant.repository import TenantRepository
from services.tenant.settings import TenantSettings
from shared.app import Platform
from shared.contracts.tenant import Integration
from shared.leases import Lease
from shared.mongo import Mongo
from shared.settings import decode_key

INDEXES = {**ROW_INDEXES, **DRIFT_INDEXES, **CERTIFICATE_INDEXES}


@dataclass(frozen=True, slots=True)
class Provisioning:
    """``backends`` are empty while no integration is configured: tenants are then active at once."""

    intents: Intents
    worker: ProvisioningWorker
    drift: DriftService
    certificates: Certificates
    backends: tuple[Backend, ...] = ()

    async def close(self) -> None:
        """Close the connections to every integration."""
        for backend in self.backends:
            await backend.close()


def wire_provisioning(
    platform: Platform,
    settings: TenantSettings,
    tenants: TenantRepository,
    authentik: Authentik | None,
    departures: Departures,
) -> Provisioning:
    """Wire it; connects to nothing yet."""
    mongo, outbox, clock = platform.mongo, platform.outbox, platform.clock
    rows, people, certificates = ProvisioningRepository(mongo), PeopleRepository(mongo), CertificateRepository(mongo)
    acceptances, desires = AcceptanceRepository(mongo), Desires(tenants, people)
    backends = _backends(settings, desires, mongo, authentik)
    intents = Intents(rows, tuple(backends))
    drift = DriftService(acceptances, tenants, rows, intents, mongo.transactions, outbox, clock)
    signer = Signer(decode_key(settings.certificate_key.get_secret_value()), f"dezky:{settings.environment}")
    records = Records(tenants, rows, intents, certificates, acceptances, mongo.transactions, outbox, clock)
    deletions = Deletions(records, signer, departures)
    resync = timedelta(seconds=settings.resync_seconds)
    ledger = Ledger(rows, tenants, mongo.transactions, outbox, clock, resync)

    def lease(name: str) -> Lease:
        return Lease(mongo.db, name, platform.holder, LEASE)

    reconciler = Reconciler(ledger, desires, backends, lease, deletions, acceptances)
    timers = Timers(deletions, drift, lease("provisioning-timers"))
    worker = ProvisioningWorker(mongo, rows, reconciler, resync, timers, follow=bool(backends))
    return Provisioning(intents, worker, drift, Certificates(certificates, tenants), tuple(backends.values()))


def _backends(
    settings: TenantSettings, desires: Desires, mongo: Mongo, authentik: Authentik | None
) -> dict[Integration, Backend]:
    """Return those that are configured; the settings have made sure that a URL has its credential."""
    found: dict[Integration, Backend] = {}
    if authentik is not None and settings.authentik_url is not None:
        probe = SuiteProbe(authentik, settings.authentik_url, settings.authentik_suite_client)
        onboarding = Onboarding(authentik, PeopleRepository(mongo))
        found["authentik"] = IdentityBackend(authentik, onboarding, desires, probe)
    if settings.stalwart_url is not None and settings.stalwart_api_key is not None:
        found["stalwart"] = StalwartBackend(Jmap(settings.stalwart_url, settings.stalwart_api_key.get_secret_value()))
    if settings.ocis_url is not None and settings.ocis_token is not None:
        graph = LibreGraph(settings.ocis_url, settings.ocis_token.get_secret_value())
        found["ocis"] = OcisBackend(graph, ProvisionedUsers(mongo), desires)
    return found
