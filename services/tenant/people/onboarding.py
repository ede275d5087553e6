"""The part of an invitation that happens at Authentik. Every step looks before it acts, so it can be repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from services.tenant.authentik import Account, Authentik, AuthentikRejected
from services.tenant.people.credentials import temporary_password
from services.tenant.people.models import AUTHENTIK, OPERATOR_GROUP, PARTNER_GROUP, Human, Identity, Place
from shared.contracts.user import Handoff
from shared.errors import Conflict

GROUPS = {"platform": OPERATOR_GROUP, "partner": PARTNER_GROUP}
"""The group that goes with a role. A tenant's own group is the business of its provisioning."""


class IdentityConflict(Conflict):
    code, title = "identity_conflict", "The identity provider has another account for this address"


class AccountNotUsable(Conflict):
    code, title = "account_not_usable", "The identity provider's account of this name cannot be invited"


@dataclass(frozen=True, slots=True)
class Credential:
    """What an invited person begins with. Its value is in no ``repr``, so that no log can show it."""

    handoff: Handoff
    link: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class Claims(Protocol):
    """Says which of our people an identity is."""

    async def find_by_identity(self, identity: Identity) -> Human | None: ...


@dataclass(frozen=True, slots=True)
class Met:
    """An account, and the person of ours who it is (None: nobody yet).

    Attributes:
        ours: the account was made by this platform for the person invited, so a credential of it may be given away.
            Somebody else's account is adopted without one: whoever invites must not get into it.
    """

    account: Account
    owner: Human | None
    ours: bool

    @property
    def identity(self) -> Identity:
        return identity_of(self.account)


def identity_of(account: Account) -> Identity:
    """Return the identity that tokens of ``account`` carry."""
    return Identity(AUTHENTIK, account.uid)


class Onboarding:
    """Makes people known to Authentik."""

    def __init__(self, authentik: Authentik, people: Claims) -> None:
        self._authentik = authentik
        self._people = people

    async def meet(self, human: Human) -> Met:
        """Find the account whose user name is the person's address; for somebody new, create it if there is none.

        Raises:
            IdentityConflict: other accounts use the address, or it is not the account of the person whom we know by
                it; an address alone never links.
            AccountNotUsable: the account is disabled, a machine's, or an administrator of Authentik itself.
            AuthentikError: try again later.
        """
        account = await self._find(human.email)
        if account is None:
            if human.identities:
                raise IdentityConflict("Authentik knows nobody whose user name is this address")
            account = await self._create(human)
        owner = await self._people.find_by_identity(identity_of(account))
        if human.identities and (owner is None or owner.id != human.id):
            raise IdentityConflict("somebody here uses this address with another account: ask them for their own")
        if not human.identities:
            _check_usable(account)
        return Met(account, owner, ours=owner is None and account.person is not None)

    async def admit(self, account: Account, place: Place) -> None:
        """Put the account into the group that goes with a role at ``place``."""
        group = GROUPS.get(place.kind)
        if group is not None and await self._authentik.group_id(group) not in account.groups:
            await self._authentik.join(account.pk, group)

    async def account_of(self, human: Human) -> Account:
        """Return the account that a person is, by the number that we remember or by name and address.

        Raises:
            IdentityConflict: Authentik has no such account any more.
        """
        candidates = []
        if human.account is not None and (known := await self._authentik.account(human.account)) is not None:
            candidates.append(known)
        if not any(identity_of(account) in human.identities for account in candidates):
            candidates += await self._authentik.accounts(username=human.email)
            candidates += await self._authentik.accounts(email=human.email)
        for account in candidates:
            if identity_of(account) in human.identities:
                return account
        raise IdentityConflict("Authentik has no account of this person any more")

    async def credential(self, account: Account) -> Credential:
        """Make a new credential of ``account``: a recovery link, or a temporary password if there is no such flow."""
        link = await self._authentik.recovery_link(account.pk)
        if link is not None:
            return Credential("recovery-link", link=link)
        password = temporary_password()
        await self._authentik.set_password(account.pk, password)
        return Credential("temp-password", password=password)

    async def _find(self, email: str) -> Account | None:
        """Return the account of this name; names that differ in letter case are different accounts there."""
        found: dict[int, Account] = {}
        for spelling in dict.fromkeys((email, email.lower())):
            for account in await self._authentik.accounts(username=spelling):
                found[account.pk] = account
            for account in await self._authentik.accounts(email=spelling):
                found[account.pk] = account
        if not found:
            return None
        named = [account for account in found.values() if account.username.casefold() == email.casefold()]
        if len(found) > 1 or not named:
            raise IdentityConflict(
                "at Authentik, leave this address with one user only, whose user name it is; then invite again"
            )
        return named[0]

    async def _create(self, human: Human) -> Account:
        try:
            return await self._authentik.create_account(human.email, human.name, human.id)
        except AuthentikRejected as refusal:
            account = await self._find(human.email)
            if account is None:
                raise AccountNotUsable(
                    f"Authentik refuses the person: {'; '.join(sorted(refusal.fields))}"
                ) from refusal
            return account


def _check_usable(account: Account) -> None:
    if not account.is_active:
        raise AccountNotUsable("its account is disabled: enable it at Authentik, then invite again")
    if not account.ordinary:
        raise AccountNotUsable("it is a machine's or an administrator's account: invite another address")
