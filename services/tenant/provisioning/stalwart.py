"""Stalwart's part: the tenant's domains, a mailbox for each of its people, and whether these may sign in and send.

Nothing is destroyed here: the mailbox of somebody who left is stopped, with its mail in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.tenant.provisioning.jmap import Body, Jmap
from services.tenant.provisioning.mail_permissions import INHERIT, freed, is_free, is_stopped, stopped
from services.tenant.provisioning.models import MAILBOX_BYTES, Desired, Finding, Mailbox, mailboxes
from services.tenant.provisioning.remote import Memo, NameTaken

ACCOUNTS, HALTED = "accounts", "halted"
BY_HAND = {"@type": "Manual"}
"""Who manages certificates, keys and DNS of a domain is the operator's business."""


@dataclass(slots=True)
class _Pass:
    """One look at everything. ``accounts`` are those of the tenant's domains and those remembered, by id."""

    desired: Desired
    memo: Memo
    domains: dict[str, str]
    accounts: dict[str, Body]
    changes: int = 0
    administrators: list[str] = field(default_factory=list)


class StalwartBackend:
    """Makes Stalwart agree. What it did is believed only when a second look finds nothing left to do."""

    def __init__(self, jmap: Jmap) -> None:
        self._jmap = jmap

    async def close(self) -> None:
        await self._jmap.close()

    async def reconcile(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError, NameTaken
        """
        domains = {name: await self._domain(name, desired) for name in desired.domains}
        boxes, clashes = mailboxes(desired)
        look = await self._pass(desired, memo, domains, boxes)
        if look.changes:
            look = await self._pass(desired, memo, domains, boxes)
        if look.changes:
            allowed = [i for i, account in look.accounts.items() if not is_stopped(account["permissions"])]
            if not desired.open and allowed:
                return Finding("pending", "StillAllowed", f"Stalwart still lets {len(allowed)} accounts in")
            return Finding("pending", "NotSettled", f"{look.changes} things were not as they had just been made")
        if look.administrators:
            where = ", ".join(look.administrators)
            return Finding("failed", "AdministratorInDomain", f"accounts that administer Stalwart: {where}")
        if clashes:
            return Finding("failed", "AddressTaken", f"another person has their address: {', '.join(clashes)}")
        return desired.achieved

    async def _domain(self, name: str, desired: Desired) -> str:
        """Return the id of a domain that is the tenant's, made if there is none.

        Raises:
            NameTaken: it exists and is not marked as the tenant's: it may be anybody's, even Stalwart's own.
        """
        found = await self._jmap.get("Domain", await self._jmap.query("Domain", name=name))
        if not found:
            manual = {f"{what}Management": BY_HAND for what in ("certificate", "dkim", "dns")}
            return await self._jmap.create("Domain", {"name": name, "description": desired.mark, **manual})
        if found[0].get("description") != desired.mark:
            raise NameTaken(f"the domain {name} exists and is not marked «{desired.mark}»: mark or remove it there")
        return str(found[0]["id"])

    async def _pass(self, desired: Desired, memo: Memo, domains: dict[str, str], boxes: dict[str, Mailbox]) -> _Pass:
        look = _Pass(desired, memo, domains, await self._accounts(memo, domains))
        ours: set[str] = set()
        for person, box in boxes.items():
            ours.add(await self._mailbox(look, person, box))
        known = set(memo.map(ACCOUNTS).values())
        for identity, account in look.accounts.items():
            if identity in ours:
                await self._permit(look, account, allowed=desired.open)
            elif identity in known:  # of somebody who left
                await self._permit(look, account, allowed=False)
            else:
                await self._stranger(look, account)
        return look

    async def _accounts(self, memo: Memo, domains: dict[str, str]) -> dict[str, Body]:
        ids = list(memo.map(ACCOUNTS).values())
        for domain in domains.values():
            ids += await self._jmap.query("Account", domainId=domain)
        found = await self._jmap.get("Account", list(dict.fromkeys(ids)))
        return {str(account["id"]): account for account in found if account.get("@type") == "User"}

    async def _mailbox(self, look: _Pass, person: str, box: Mailbox) -> str:
        """Return the account of a person, found by what we remember or by its address, or made."""
        remembered = look.memo.map(ACCOUNTS)
        account = look.accounts.get(str(remembered.get(person)))
        if account is None:
            account = _at(look, box)
            if account is None:
                return await self._create(look, person, box)
            await self._remember(look, person, str(account["id"]))
        patch = _patch(account, box, look.domains)
        if patch:
            await self._jmap.update("Account", str(account["id"]), patch)
            look.changes += 1
        return str(account["id"])

    async def _create(self, look: _Pass, person: str, box: Mailbox) -> str:
        member = next(m for m in look.desired.members if m.human.id == person)
        body: Body = {
            "@type": "User",
            "name": box.local,
            "domainId": look.domains[box.domain],
            "description": member.human.name or box.local,
            "aliases": {"0": _alias(box.alias, look.domains)} if box.alias else {},
            "quotas": {"maxDiskQuota": MAILBOX_BYTES},
            "roles": {"@type": "User"},
            # Whoever is invited to a suspended tenant begins stopped.
            "permissions": INHERIT if look.desired.open else stopped(INHERIT),
        }
        identity = await self._jmap.create("Account", body)
        await self._remember(look, person, identity)
        look.changes += 1
        return identity

    async def _remember(self, look: _Pass, person: str, identity: str) -> None:
        others = {p: i for p, i in look.memo.map(ACCOUNTS).items() if i != identity}
        await look.memo.put(ACCOUNTS, {**others, person: identity})

    async def _stranger(self, look: _Pass, account: Body) -> None:
        """Stop what others made in the tenant's domains while it is suspended, and free only what we stopped."""
        identity = str(account["id"])
        if (account.get("roles") or {}).get("@type") != "User":
            look.administrators.append(str(account.get("emailAddress", "")).rpartition("@")[2] + f"/{identity}")
            return
        halted = list(look.memo.get(HALTED) or [])
        if look.desired.open:
            if identity in halted:
                await self._permit(look, account, allowed=True)
                await look.memo.put(HALTED, [known for known in halted if known != identity])
        elif not is_stopped(account["permissions"]):
            if identity not in halted:
                await look.memo.put(HALTED, [*halted, identity])
            await self._permit(look, account, allowed=False)

    async def _permit(self, look: _Pass, account: Body, *, allowed: bool) -> None:
        permissions = account["permissions"]
        if is_free(permissions) if allowed else is_stopped(permissions):
            return
        wanted = freed(permissions) if allowed else stopped(permissions)
        await self._jmap.update("Account", str(account["id"]), {"permissions": wanted})
        look.changes += 1


def _at(look: _Pass, box: Mailbox) -> Body | None:
    """Return the account that has the address already.

    Raises:
        NameTaken: it administers Stalwart.
    """
    for account in look.accounts.values():
        if (account["name"], account["domainId"]) == (box.local, look.domains[box.domain]):
            if (account.get("roles") or {}).get("@type") != "User":
                raise NameTaken(f"the account {account['id']} administers Stalwart: rename it there")
            return account
    return None


def _patch(account: Body, box: Mailbox, domains: dict[str, str]) -> Body:
    patch: Body = {}
    if account["name"] != box.local:
        patch["name"] = box.local
    if account["domainId"] != domains[box.domain]:
        patch["domainId"] = domains[box.domain]
    if (account.get("quotas") or {}).get("maxDiskQuota") != MAILBOX_BYTES:
        patch["quotas/maxDiskQuota"] = MAILBOX_BYTES
    aliases = account.get("aliases") or {}
    if box.alias and not any(_is(alias, box.alias, domains) for alias in aliases.values()):
        free = next(number for number in range(len(aliases) + 1) if str(number) not in aliases)
        patch[f"aliases/{free}"] = _alias(box.alias, domains)
    return patch


def _is(alias: Body, address: tuple[str, str], domains: dict[str, str]) -> bool:
    return (alias.get("name"), alias.get("domainId")) == (address[0], domains[address[1]])


def _alias(address: tuple[str, str], domains: dict[str, str]) -> dict[str, Any]:
    return {"name": address[0], "domainId": domains[address[1]], "enabled": True}
