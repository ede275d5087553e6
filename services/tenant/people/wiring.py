"""The part of the composition root that is about people."""

from __future__ import annotations

from dataclasses import dataclass

from services.tenant.authentik import Authentik
from services.tenant.people.access import Access
from services.tenant.people.accounts import Accounts
from services.tenant.people.directory import Directory
from services.tenant.people.invites import Invites
from services.tenant.people.onboarding import Onboarding
from services.tenant.people.records import Records
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.resends import Resends
from services.tenant.people.roles import Roles
from services.tenant.people.service import PeopleService
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.people.tasks.worker import TaskWorker
from services.tenant.repository import PartnerProjection, TenantRepository
from shared.app import Platform


@dataclass(frozen=True, slots=True)
class People:
    """The use cases of people. ``worker`` is None while no identity provider is configured: tasks then wait."""

    directory: Directory
    people: PeopleService
    invites: Invites
    resends: Resends
    roles: Roles
    worker: TaskWorker | None


def wire_people(
    platform: Platform, tenants: TenantRepository, partners: PartnerProjection, authentik: Authentik | None
) -> People:
    """Wire them; connects to nothing yet."""
    mongo, outbox, clock = platform.mongo, platform.outbox, platform.clock
    repository, tasks = PeopleRepository(mongo), TaskRepository(mongo, clock)
    records = Records(repository, tasks, mongo.transactions, outbox, clock)
    access = Access(tenants, partners)
    onboarding = None if authentik is None else Onboarding(authentik, repository)
    invites = Invites(records, access, tenants, partners, onboarding)
    worker = None
    if authentik is not None and onboarding is not None:
        accounts = Accounts(records, authentik, onboarding)
        worker = TaskWorker(
            mongo,
            tasks,
            {
                "invite": invites.finish,
                "resend": accounts.forget,
                "activity": accounts.settle_activity,
                "groups": accounts.settle_groups,
            },
        )
    return People(
        directory=Directory(repository, mongo.transactions, outbox, clock),
        people=PeopleService(records, access, tenants, partners, connected=authentik is not None),
        invites=invites,
        resends=Resends(records, access, onboarding),
        roles=Roles(records, access, tenants),
        worker=worker,
    )
