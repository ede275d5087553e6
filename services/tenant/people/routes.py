"""Routes of people."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from services.tenant.people.directory import Directory
from services.tenant.people.erasure.erasures import Erasures
from services.tenant.people.invites import Invitation, Invites
from services.tenant.people.models import PLATFORM, Human, Place
from services.tenant.people.repository import PeopleFilter
from services.tenant.people.resends import Resends
from services.tenant.people.roles import Roles
from services.tenant.people.schemas import (
    ChangePartnerRole,
    ChangeTenantRole,
    InvitationView,
    InviteOperator,
    InvitePartnerPerson,
    InviteTenantPerson,
    MemberList,
    MemberView,
    MeView,
    PersonList,
    PersonView,
    PrincipalView,
    ResolvePrincipal,
    invitation_view,
    me_view,
    member_list,
    member_view,
    person_view,
    principal_view,
)
from services.tenant.people.service import Known, PeopleService
from shared import context
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.errors import DomainError, render
from shared.etags import ExpectedVersion, unless_known
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import AnyPerson, Operator, from_services

router = APIRouter(prefix="/api", tags=["people"], route_class=StrictRoute)
internal = APIRouter(prefix="/internal", include_in_schema=False, route_class=StrictRoute)


class Deps(Protocol):
    """What these routes call."""

    @property
    def directory(self) -> Directory: ...
    @property
    def people(self) -> PeopleService: ...
    @property
    def invites(self) -> Invites: ...
    @property
    def resends(self) -> Resends: ...
    @property
    def roles(self) -> Roles: ...
    @property
    def erasures(self) -> Erasures: ...


async def _deps(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


Calls = Annotated[Deps, Depends(_deps)]
IfNoneMatch = Annotated[str | None, Header(max_length=1_000)]


async def _partner(slug: str) -> Place:
    return Place("partner", slug)


async def _tenant(slug: str) -> Place:
    return Place("tenant", slug)


PartnerPlace = Annotated[Place, Depends(_partner)]
TenantPlace = Annotated[Place, Depends(_tenant)]


def _invited(invitation: Invitation, *, shown: bool) -> Answer:
    status = 202 if invitation.credential is None else 201
    reply = answer(invitation_view(invitation, shown=shown), status)
    reply.headers["cache-control"] = "no-store"
    return reply


def _kept(outcome: Invitation | DomainError) -> Answer:
    """What a replay repeats: never the credential, and of a refusal that came late the refusal."""
    if isinstance(outcome, DomainError):
        return Answer(*render(outcome, context.current().request_id))
    return _invited(outcome, shown=False)


def _current(human: Human) -> Answer:
    return answer(person_view(Known(human, None)), version=human.version)


def _role(human: Human, place: Place) -> Response:
    return send(answer(member_view(Known(human, None), place), version=human.version))


@internal.post("/principals", dependencies=[Depends(from_services("gateway"))])
async def resolve_principal(body: ResolvePrincipal, calls: Calls) -> PrincipalView:
    """Return the person behind a verified token; a first sign-in creates one."""
    return principal_view(await calls.directory.resolve(body.to_signed_in()), body)


@router.get("/me", response_model=MeView, responses={304: {"description": "Nothing has changed"}})
async def read_me(caller: AnyPerson, calls: Calls, if_none_match: IfNoneMatch = None) -> Response:
    """Read who the caller is, with tenants, partner and surfaces."""
    return send(unless_known(answer(me_view(await calls.people.me(caller))), if_none_match))


@router.get("/users", response_model=PersonList)
async def list_users(
    request: Request,
    _: Operator,
    calls: Calls,
    admins: Annotated[bool, Query(description="Only operators.")] = False,
    inactive: Annotated[bool, Query(description="Only who is deactivated.")] = False,
    invited: Annotated[bool, Query(description="Only who was invited and has not come yet.")] = False,
    expired: Annotated[bool, Query(description="Only who was invited and did not come in time.")] = False,
    q: Annotated[
        str | None, Query(max_length=254, description="Prefix of a word of the name or of the e-mail.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List everybody, in the order in which they became known; several statuses widen."""
    page = await calls.people.page(PeopleFilter(admins, inactive, invited, expired, q), limit, cursor)
    reply = answer(PersonList(items=[person_view(known) for known in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.post(
    "/users/invite", status_code=201, response_model=InvitationView, responses={202: {"model": InvitationView}}
)
async def invite_operator(body: InviteOperator, caller: Operator, calls: Calls, claim: Claimed) -> Response:
    """Invite an operator of the platform."""
    invited = await calls.invites.invite(caller, PLATFORM, body.to_person(), claim.answering(_kept))
    return send(_invited(invited, shown=True))


@router.get("/users/{person}", response_model=PersonView)
async def read_user(person: str, _: Operator, calls: Calls) -> Response:
    """Read one person."""
    known = await calls.people.read(person)
    return send(answer(person_view(known), version=known.human.version))


@router.post("/users/{person}/resend-invite", status_code=201, response_model=InvitationView)
async def resend_invite(person: str, caller: AnyPerson, calls: Calls, claim: Claimed) -> Response:
    """Make a new credential for somebody who was invited and has not come yet."""
    return send(_invited(await calls.resends.resend(caller, person, claim.answering(_kept)), shown=True))


@router.post("/users/{person}/deactivate", response_model=PersonView)
async def deactivate_user(
    person: str, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Shut a person out on every surface."""
    return send(_current(await calls.roles.deactivate(caller, PLATFORM, person, expected, claim.answering(_current))))


@router.post("/users/{person}/reactivate", response_model=PersonView)
async def reactivate_user(
    person: str, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Let a person in again."""
    return send(_current(await calls.roles.reactivate(caller, person, expected, claim.answering(_current))))


@router.post("/users/{person}/erase", response_model=PersonView)
async def erase_user(
    person: str, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Forget a person for ever: the id stays, everything personal goes."""
    return send(_current(await calls.erasures.erase(caller, person, expected, claim.answering(_current))))


@router.get("/partners/{slug}/users", response_model=MemberList)
async def list_partner_users(
    request: Request,
    place: PartnerPlace,
    caller: AnyPerson,
    calls: Calls,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the people of a partner."""
    return await _list(request, place, caller, calls, limit, cursor)


@router.post(
    "/partners/{slug}/users",
    status_code=201,
    response_model=InvitationView,
    responses={202: {"model": InvitationView}},
)
async def invite_partner_user(
    place: PartnerPlace, body: InvitePartnerPerson, caller: AnyPerson, calls: Calls, claim: Claimed
) -> Response:
    """Invite somebody to a partner; the first is its owner."""
    invited = await calls.invites.invite(caller, place, body.to_person(), claim.answering(_kept))
    return send(_invited(invited, shown=True))


@router.patch("/partners/{slug}/users/{person}", response_model=MemberView)
async def change_partner_role(
    place: PartnerPlace,
    person: str,
    body: ChangePartnerRole,
    caller: AnyPerson,
    calls: Calls,
    expected: ExpectedVersion,
) -> Response:
    """Change somebody's role in a partner."""
    return _role(await calls.roles.change(caller, place, person, body.role, expected), place)


@router.delete("/partners/{slug}/users/{person}", status_code=204)
async def remove_partner_user(
    place: PartnerPlace, person: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion
) -> Response:
    """Take somebody's role in a partner."""
    await calls.roles.remove(caller, place, person, expected)
    return Response(status_code=204)


@router.get("/tenants/{slug}/users", response_model=MemberList)
async def list_tenant_users(
    request: Request,
    place: TenantPlace,
    caller: AnyPerson,
    calls: Calls,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the people of a tenant."""
    return await _list(request, place, caller, calls, limit, cursor)


@router.post(
    "/tenants/{slug}/users",
    status_code=201,
    response_model=InvitationView,
    responses={202: {"model": InvitationView}},
)
async def invite_tenant_user(
    place: TenantPlace, body: InviteTenantPerson, caller: AnyPerson, calls: Calls, claim: Claimed
) -> Response:
    """Invite somebody to a tenant; they take a seat."""
    invited = await calls.invites.invite(caller, place, body.to_person(), claim.answering(_kept))
    return send(_invited(invited, shown=True))


@router.patch("/tenants/{slug}/users/{person}", response_model=MemberView)
async def change_tenant_role(
    place: TenantPlace, person: str, body: ChangeTenantRole, caller: AnyPerson, calls: Calls, expected: ExpectedVersion
) -> Response:
    """Change somebody's role in a tenant."""
    return _role(await calls.roles.change(caller, place, person, body.role, expected), place)


@router.delete("/tenants/{slug}/users/{person}", status_code=204)
async def remove_tenant_user(
    place: TenantPlace, person: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion
) -> Response:
    """Take somebody's role in a tenant."""
    await calls.roles.remove(caller, place, person, expected)
    return Response(status_code=204)


@router.post("/tenants/{slug}/users/{person}/deactivate", response_model=MemberView)
async def deactivate_tenant_user(
    place: TenantPlace, person: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Shut out a person who belongs to this tenant only."""

    def current(human: Human) -> Answer:
        return answer(member_view(Known(human, None), place), version=human.version)

    human = await calls.roles.deactivate(caller, place, person, expected, claim.answering(current))
    return send(current(human))


async def _list(
    request: Request, place: Place, caller: AnyPerson, calls: Deps, limit: int, cursor: str | None
) -> Response:
    page = await calls.people.page_at(caller, place, limit, cursor)
    reply = answer(member_list(page, place))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)
