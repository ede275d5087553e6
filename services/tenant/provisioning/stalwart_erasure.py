"""Stalwart's part of an erasure: every account of the tenant's domains goes, then the domains, then their mail.

An account is gone at once and its mail by a task afterwards, so nothing is erased before that task has ended.
"""

from __future__ import annotations

from typing import Any

from services.tenant.provisioning.jmap import Body, Jmap
from services.tenant.provisioning.models import Desired, Finding
from services.tenant.provisioning.remote import Memo

ACCOUNTS, DOMAINS = "accounts", "domains"
DOOMED_ACCOUNTS, DOOMED_DOMAINS = "doomed_accounts", "doomed_domains"


class StalwartErasure:
    """Erases a tenant at Stalwart. What is to go is remembered first, so that it can be counted when it is gone."""

    def __init__(self, jmap: Jmap) -> None:
        self._jmap = jmap

    async def erase(self, desired: Desired, memo: Memo) -> Finding:
        """Look, act, look again.

        Raises:
            RemoteError, LeaseLost
        """
        domains, accounts = await self._look(desired, memo)
        powerful = [str(account["id"]) for account in accounts if administers(account)]
        if powerful:
            told = f"accounts that administer Stalwart, move them to another domain: {', '.join(powerful)}"
            return Finding("failed", "AdministratorInDomain", told)
        if accounts or domains:
            linked = await self._destroy(domains, accounts, memo)
            if linked:
                told = f"something outside of the tenant refers to it: {'; '.join(linked)}"
                return Finding("failed", "StillReferred", told)
            domains, accounts = await self._look(desired, memo)
        if accounts or domains:
            told = f"Stalwart still has {len(accounts)} accounts and {len(domains)} domains of the tenant"
            return Finding("pending", "StillThere", told)
        if waiting := await self._mail_left(memo):
            return Finding("pending", "Destroying", f"Stalwart still destroys the mail of {waiting} accounts")
        gone = {"account": DOOMED_ACCOUNTS, "domain": DOOMED_DOMAINS}
        return desired.erased_with({kind: len(memo.all(name)) for kind, name in gone.items()})

    async def _look(self, desired: Desired, memo: Memo) -> tuple[list[str], list[Body]]:
        """Return the ids of the tenant's domains, and the accounts in them and those remembered."""
        domains = memo.all(DOOMED_DOMAINS)
        for name in dict.fromkeys((*desired.domains, *memo.all(DOMAINS))):
            found = await domain_named(self._jmap, name)
            # What is not marked was never the tenant's.
            if found is not None and found.get("description") == desired.mark:
                domains.append(str(found["id"]))
        present = [str(domain["id"]) for domain in await self._jmap.get("Domain", list(dict.fromkeys(domains)))]
        ids = [*memo.map(ACCOUNTS).values(), *memo.all(DOOMED_ACCOUNTS)]
        for domain in present:
            ids += await self._jmap.query("Account", domainId=domain)
        return present, await self._jmap.get("Account", list(dict.fromkeys(ids)))

    async def _destroy(self, domains: list[str], accounts: list[Body], memo: Memo) -> list[str]:
        """Destroy accounts and then domains; return what keeps a domain from going."""
        ids = [str(account["id"]) for account in accounts]
        await memo.add(DOOMED_ACCOUNTS, ids)
        await memo.add(DOOMED_DOMAINS, domains)
        # Groups refer to no one, members refer to their groups.
        members = [str(account["id"]) for account in accounts if account.get("@type") == "User"]
        others = [identity for identity in ids if identity not in set(members)]
        refusals = {
            **await self._jmap.destroy("Account", members),
            **await self._jmap.destroy("Account", others),
            **await self._jmap.destroy("Domain", domains),
        }
        return [f"{identity}: {refusal.detail}" for identity, refusal in refusals.items()]

    async def _mail_left(self, memo: Memo) -> int:
        doomed = set(memo.all(DOOMED_ACCOUNTS))
        if not doomed:
            return 0
        tasks = await self._jmap.get("Task", await self._jmap.query("Task"))
        return sum(t.get("@type") == "DestroyAccount" and t.get("accountId") in doomed for t in tasks)


async def domain_named(jmap: Jmap, name: str) -> Body | None:
    """Return the domain of this name."""
    found = await jmap.get("Domain", await jmap.query("Domain", name=name))
    return found[0] if found else None


def administers(account: Body) -> bool:
    """Tell whether the account has a role beyond its own mail."""
    roles: dict[str, Any] = account.get("roles") or {}
    return bool(roles.get("@type", "User") != "User")
