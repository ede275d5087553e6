"""The parts of cold storage, from settings; connects to nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.audit.cold.archiver import Archiver, Limits
from services.audit.cold.batches import Batches
from services.audit.cold.journal import Journal
from services.audit.cold.manifest import ManifestSigner
from services.audit.cold.mover import Mover, Tenure
from services.audit.cold.object_store import AbsentStore, Access, ObjectStore
from services.audit.cold.repository import ArchiveRepository, ColdRepository
from services.audit.cold.service import ArchiveSchedule, ArchiveService
from services.audit.cold.tiers import TieredPages
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared.app import Platform
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.settings import decode_key

ARCHIVE_LEASE = "audit-archive"


@dataclass(frozen=True)
class Cold:
    """What lists both tiers, what archives, and what has to run and to be closed."""

    pages: TieredPages
    service: ArchiveService
    tasks: tuple[Callable[[], Awaitable[None]], ...] = ()
    closing: tuple[Callable[[], Awaitable[None]], ...] = ()

    @classmethod
    def wired(
        cls, platform: Platform, settings: AuditSettings, repository: AuditRepository, store: ObjectStore | AbsentStore
    ) -> Cold:
        """Build it. Without an endpoint, or without an archiver's user, nothing is archived."""
        signer = signer_of(settings)
        rows = ColdRepository(platform.mongo.db)
        pages = TieredPages(repository, rows, Batches(store, signer))
        uri = settings.archiver_mongo_uri.get_secret_value()
        if isinstance(store, AbsentStore) or not uri:
            return cls(pages, ArchiveService(rows), closing=(pages.close,))
        mongo = Mongo(uri, settings.mongo_database, "dezky-audit-archiver")
        own = ArchiveRepository(mongo.db)
        tenure = Tenure(Lease(mongo.db, ARCHIVE_LEASE, platform.holder))
        limits = Limits(settings.hot_retention_days, lock_days=settings.cold_retention_days)
        journal = Journal(Outbox(mongo, platform.name, platform.clock))
        mover = Mover(mongo.transactions, own, tenure, journal)
        archiver = Archiver(store, signer, own, mover, platform.clock, limits)
        schedule = ArchiveSchedule(tenure, archiver, own, platform.clock, settings.archive_hour_utc)
        return cls(
            pages,
            ArchiveService(rows, tenure, archiver),
            tasks=(schedule.run,) if settings.archive_enabled else (),
            closing=(mongo.close, pages.close),
        )


def store_of(settings: AuditSettings, bucket: str) -> ObjectStore | AbsentStore:
    """A bucket of the store that the settings name, or what refuses in its place."""
    if not settings.cold_endpoint:
        return AbsentStore()
    access = Access(
        settings.cold_endpoint,
        settings.cold_region,
        settings.cold_access_key,
        settings.cold_secret_key.get_secret_value(),
        settings.cold_sse,
    )
    return ObjectStore(access, bucket)


def signer_of(settings: AuditSettings) -> ManifestSigner:
    """Signs with today's key, believes those of before."""
    keys = (settings.signing_key, *(retired.key for retired in settings.signing_history))
    return ManifestSigner([decode_key(key.get_secret_value()) for key in keys])
