"""Stalwart's part: the tenant's domains, a mailbox for each of its people, and whether these may sign in and send.

The mailbox of somebody who left is stopped, with its mail in it. One is destroyed only when its person is erased and it
was made here, or when the whole tenant is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.jmap import Body, Jmap
from services.tenant.provisioning.mail_permissions import INHERIT, freed, is_free, is_stopped, stopped
from services.tenant.provisioning.models import MAILBOX_BYTES, Desired, Finding, Mailbox, mailboxes
from services.tenant.provisioning.remote import Memo, NameTaken, RemoteRefused
from services.tenant.provisioning.stalwart_erasure import ACCOUNTS, DOMAINS, StalwartErasure, administers, domain_named

HALTED, MADE = "halted", "made"
BY_HAND = {"@type": "Manual"}
"""Who manages certificates, keys and DNS of a domain is the operator's business."""


@dataclass(slots=True)
class _Pass:
    """One look at everything.

    Attributes:
        domains: ids by name. former: ids of marked domains that the tenant has given up.
        accounts: those of all these domains and those remembered, by id.
        clashes: ids of people whose address somebody else has.
    """

    desired: Desired
    memo: Memo
    found: Differences
    domains: dict[str, str] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, Body] = field(default_factory=dict)
    administrators: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)


class StalwartBackend:
    """Makes Stalwart agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, jmap: Jmap) -> None:
        self._jmap = jmap
        self._erasure = StalwartErasure(jmap)

    async def close(self) -> None:
        await self._jmap.close()

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError, NameTaken, LeaseLost
        """
        if desired.gone:
            return await self._erasure.erase(desired, memo)
        look = await self._pass(desired, memo, differences)
        if differences.changes:
            differences.again()
            look = await self._pass(desired, memo, differences)
        if differences.changes:
            allowed = [i for i, account in look.accounts.items() if not is_stopped(account["permissions"])]
            if not desired.open and allowed:
                return Finding("pending", "StillAllowed", f"Stalwart still lets {len(allowed)} accounts in")
            return Finding("pending", "NotSettled", f"{differences.changes} things were not as they had just been made")
        if look.administrators:
            where = ", ".join(look.administrators)
            return Finding("failed", "AdministratorInDomain", f"accounts that administer Stalwart: {where}")
        if look.clashes:
            return Finding("failed", "AddressTaken", f"another person has their address: {', '.join(look.clashes)}")
        return desired.achieved

    async def _pass(self, desired: Desired, memo: Memo, found: Differences) -> _Pass:
        look = _Pass(desired, memo, found)
        await self._find_domains(look)
        look.accounts = await self._accounts(look)
        await self._forget_erased(look)
        boxes, look.clashes = mailboxes(desired)
        ours: set[str] = set()
        for person, box in boxes.items():
            if (identity := await self._mailbox(look, person, box)) is not None:
                ours.add(identity)
        known = set(memo.map(ACCOUNTS).values())
        for identity, account in look.accounts.items():
            if identity in ours:
                await self._permit(look, account, allowed=desired.open)
            elif identity in known:  # of somebody who left
                await self._permit(look, account, allowed=False)
            else:
                await self._stranger(look, account)
        await self._give_up_domains(look)
        return look

    async def _find_domains(self, look: _Pass) -> None:
        known = {*look.memo.all(DOMAINS), *look.desired.domains}
        # Before any is made: what the tenant gives up has to be found again.
        await look.memo.put(DOMAINS, sorted(known))
        for name in look.desired.domains:
            look.domains[name] = await self._domain(name, look)
        for name in sorted(known - look.domains.keys()):
            domain = await domain_named(self._jmap, name)
            if domain is not None and domain.get("description") == look.desired.mark:
                look.former[name] = str(domain["id"])
        await look.memo.put(DOMAINS, sorted({*look.former, *look.domains}))

    async def _domain(self, name: str, look: _Pass) -> str:
        """Return the id of a domain that is the tenant's, made if there is none.

        Raises:
            NameTaken: it exists and is not marked as the tenant's: it may be anybody's, even Stalwart's own.
        """
        mark = look.desired.mark
        found = await domain_named(self._jmap, name)
        if found is None:
            await look.found.repair("domain-deleted", name)
            manual = {f"{what}Management": BY_HAND for what in ("certificate", "dkim", "dns")}
            return await self._jmap.create("Domain", {"name": name, "description": mark, **manual})
        if found.get("description") != mark:
            raise NameTaken(f"the domain {name} exists and is not marked «{mark}»: mark or remove it there")
        return str(found["id"])

    async def _give_up_domains(self, look: _Pass) -> None:
        """Destroy domains that the tenant has given up, once nobody's mail is in them any more."""
        for identity in look.former.values():
            for account in look.accounts.values():
                await self._give_up_aliases(look, account, identity)
            if any(account["domainId"] == identity for account in look.accounts.values()):
                continue
            if not await self._jmap.destroy("Domain", [identity]):
                look.found.worked()

    async def _give_up_aliases(self, look: _Pass, account: Body, domain: str) -> None:
        stale = [key for key, alias in (account.get("aliases") or {}).items() if alias.get("domainId") == domain]
        if stale:
            look.found.worked()
            await self._jmap.update("Account", str(account["id"]), {f"aliases/{key}": None for key in stale})

    async def _accounts(self, look: _Pass) -> dict[str, Body]:
        ids = list(look.memo.map(ACCOUNTS).values())
        for domain in (*look.domains.values(), *look.former.values()):
            ids += await self._jmap.query("Account", domainId=domain)
        found = await self._jmap.get("Account", list(dict.fromkeys(ids)))
        return {str(account["id"]): account for account in found if account.get("@type") == "User"}

    async def _forget_erased(self, look: _Pass) -> None:
        """Destroy the mailboxes that were made here for people who are erased.

        What was made by somebody else in the tenant's domain belongs to the tenant: it stays, and stays stopped.
        """
        for person in look.desired.erased:
            identity = str(look.memo.map(ACCOUNTS).get(person))
            account = look.accounts.get(identity)
            if person not in look.memo.map(MADE) or (account is not None and administers(account)):
                continue
            if account is not None:
                if refused := await self._jmap.destroy("Account", [identity]):
                    raise refused[identity]
                del look.accounts[identity]
                look.found.worked()
            await look.memo.drop(ACCOUNTS, person)
            await look.memo.drop(MADE, person)

    async def _mailbox(self, look: _Pass, person: str, box: Mailbox) -> str | None:
        """Return the account of a person, found by what we remember or by its address, or made; None for a clash."""
        remembered = look.memo.map(ACCOUNTS)
        account = look.accounts.get(str(remembered.get(person)))
        if account is None:
            account = _at(look, box)
            if account is None:
                await look.found.repair("mailbox-deleted", remembered.get(person, "new"))
                return await self._create(look, person, box)
            # Nobody gets into the mail of somebody else, not even of one who left, by having their address now.
            if any(identity == account["id"] and other != person for other, identity in remembered.items()):
                look.clashes.append(person)
                return None
            await look.memo.keep(ACCOUNTS, person, str(account["id"]))
        identity = str(account["id"])
        for kind, patch in _patches(account, box, look, _name_of(look.desired, person, box)).items():
            if await look.found.repair(kind, identity):
                await self._jmap.update("Account", identity, patch)
        return identity

    async def _create(self, look: _Pass, person: str, box: Mailbox) -> str:
        body: Body = {
            "@type": "User",
            "name": box.local,
            "domainId": look.domains[box.domain],
            "description": _name_of(look.desired, person, box),
            "aliases": {"0": _alias(box.alias, look.domains)} if box.alias else {},
            "quotas": {"maxDiskQuota": MAILBOX_BYTES},
            "roles": {"@type": "User"},
            # Whoever is invited to a suspended tenant begins stopped.
            "permissions": INHERIT if look.desired.open else stopped(INHERIT),
        }
        # Before the call: if its reply is lost, what is found afterwards is known as made here.
        await look.memo.keep(MADE, person, value=True)
        try:
            identity = await self._jmap.create("Account", body)
        except RemoteRefused:
            await look.memo.drop(MADE, person)
            raise
        await look.memo.keep(ACCOUNTS, person, identity)
        return identity

    async def _stranger(self, look: _Pass, account: Body) -> None:
        """Stop what others made in the tenant's domains while it is suspended, and free only what we stopped."""
        identity = str(account["id"])
        if administers(account):
            look.administrators.append(str(account.get("emailAddress", "")).rpartition("@")[2] + f"/{identity}")
            return
        halted = look.memo.all(HALTED)
        if look.desired.open:
            if identity in halted:
                if not is_free(account["permissions"]):
                    look.found.worked()
                    await self._jmap.update("Account", identity, {"permissions": freed(account["permissions"])})
                await look.memo.put(HALTED, [known for known in halted if known != identity])
        elif not is_stopped(account["permissions"]):
            if identity not in halted:
                await look.memo.put(HALTED, [*halted, identity])
            await self._permit(look, account, allowed=False)

    async def _permit(self, look: _Pass, account: Body, *, allowed: bool) -> None:
        permissions, identity = account["permissions"], str(account["id"])
        if is_free(permissions) if allowed else is_stopped(permissions):
            return
        if await look.found.repair("mailbox-stopped" if allowed else "mailbox-freed", identity):
            wanted = freed(permissions) if allowed else stopped(permissions)
            await self._jmap.update("Account", identity, {"permissions": wanted})


def _name_of(desired: Desired, person: str, box: Mailbox) -> str:
    return next(m.human.name for m in desired.members if m.human.id == person) or box.local


def _at(look: _Pass, box: Mailbox) -> Body | None:
    """Return the account that has the address already.

    Raises:
        NameTaken: it administers Stalwart.
    """
    for account in look.accounts.values():
        if (account["name"], account["domainId"]) == (box.local, look.domains[box.domain]):
            if administers(account):
                raise NameTaken(f"the account {account['id']} administers Stalwart: rename it there")
            return account
    return None


def _patches(account: Body, box: Mailbox, look: _Pass, name: str) -> dict[str, Body]:
    """Return what is otherwise, by its kind, as changes that make it right."""
    patches: dict[str, Body] = {}
    address = {"name": box.local, "domainId": look.domains[box.domain]}
    if any(account[member] != value for member, value in address.items()):
        patches["mailbox-address"] = address
    if account.get("description") != name:
        patches["mailbox-name"] = {"description": name}
    if (account.get("quotas") or {}).get("maxDiskQuota") != MAILBOX_BYTES:
        patches["mailbox-quota"] = {"quotas/maxDiskQuota": MAILBOX_BYTES}
    aliases = account.get("aliases") or {}
    if box.alias and not any(_is(alias, box.alias, look.domains) for alias in aliases.values()):
        free = next(number for number in range(len(aliases) + 1) if str(number) not in aliases)
        patches["alias-removed"] = {f"aliases/{free}": _alias(box.alias, look.domains)}
    return patches


def _is(alias: Body, address: tuple[str, str], domains: dict[str, str]) -> bool:
    return (alias.get("name"), alias.get("domainId")) == (address[0], domains[address[1]])


def _alias(address: tuple[str, str], domains: dict[str, str]) -> dict[str, Any]:
    return {"name": address[0], "domainId": domains[address[1]], "enabled": True}
