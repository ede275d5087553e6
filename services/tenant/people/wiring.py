"""The part of the composition root that is about people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.tenant.authentik import Authentik
from services.tenant.people.access import Access
from services.tenant.people.accounts import Accounts
from services.tenant.people.departures import Departures
from services.tenant.people.directory import Directory
from services.tenant.people.erasure.erasures import Erasures
from services.tenant.people.erasure.removal import Removal
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.report.service import ErasureReports
from services.tenant.people.erasure.repository import RefusedIdentities, Traces
from services.tenant.people.expiry import Expiry
from services.tenant.people.invites import Invites
from services.tenant.people.onboarding import Onboarding
from services.tenant.people.records import Records
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.resends import Resends
from services.tenant.people.roles import Roles
from services.tenant.people.seats import Seats
from services.tenant.people.service import PeopleService
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.people.tasks.worker import TaskWorker
from services.tenant.projections.repository import PartnerProjection
from services.tenant.provisioning.repository import ProvisionedUsers, ProvisioningRepository
from services.tenant.repository import TenantRepository
from services.tenant.usage.book import UsageBook
from services.tenant.usage.repository import UsageRepository
from shared.app import Platform
from shared.mongo import Mongo
from shared.workers import Task


@dataclass(frozen=True, slots=True)
class People:
    """The use cases of people, and the workers. Without an identity provider what it is to be told waits."""

    directory: Directory
    people: PeopleService
    invites: Invites
    resends: Resends
    roles: Roles
    erasures: Erasures
    erasure_reports: ErasureReports
    departures: Departures
    workers: tuple[Task, ...]


def wire_people(
    platform: Platform,
    tenants: TenantRepository,
    partners: PartnerProjection,
    authentik: Authentik | None,
    invite_lasts: timedelta,
) -> People:
    """Wire them; connects to nothing yet."""
    records = _records(platform, invite_lasts)
    access, seats = Access(tenants, partners), Seats(records.people, tenants)
    onboarding = None if authentik is None else Onboarding(authentik, records.people)
    invites = Invites(records, access, tenants, partners, onboarding, seats)
    traces, refused, book = Traces(platform.mongo), RefusedIdentities(platform.mongo), ErasureBook(platform.mongo)
    erasures = Erasures(records, traces, refused, tenants, onboarding, book)
    expiry = Expiry(records, platform.lease("invite-expiry"))
    # Of its own, so that somebody who is shut out does not wait behind the people of a tenant that is gone.
    removals = TaskWorker(platform.mongo, records.tasks, {"erase": Removal(records, traces, book, authentik).settle})
    workers = [expiry.run, removals.run]
    if authentik is not None and onboarding is not None:
        workers.append(_telling(platform, records, invites, Accounts(records, authentik, onboarding)).run)
    return People(
        directory=Directory(records, refused),
        people=PeopleService(records, access, tenants, partners, connected=authentik is not None),
        invites=invites,
        resends=Resends(records, access, onboarding, seats),
        roles=Roles(records, access, seats),
        erasures=erasures,
        erasure_reports=_reports(platform.mongo, records, refused, connected=authentik is not None),
        departures=Departures(records, erasures),
        workers=tuple(workers),
    )


def _reports(mongo: Mongo, records: Records, refused: RefusedIdentities, *, connected: bool) -> ErasureReports:
    rows, file_users = ProvisioningRepository(mongo), ProvisionedUsers(mongo)
    return ErasureReports(records, ErasureBook(mongo), refused, rows, file_users, connected=connected)


def _records(platform: Platform, invite_lasts: timedelta) -> Records:
    mongo, outbox, clock = platform.mongo, platform.outbox, platform.clock
    people = PeopleRepository(mongo)
    usage = UsageBook(UsageRepository(mongo), people, mongo.transactions, outbox)
    return Records(people, TaskRepository(mongo, clock), mongo.transactions, outbox, clock, usage, invite_lasts)


def _telling(platform: Platform, records: Records, invites: Invites, accounts: Accounts) -> TaskWorker:
    return TaskWorker(
        platform.mongo,
        records.tasks,
        {
            "invite": invites.finish,
            "resend": accounts.forget,
            "activity": accounts.settle_activity,
            "groups": accounts.settle_groups,
        },
    )
