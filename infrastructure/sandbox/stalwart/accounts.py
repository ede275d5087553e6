"""What accounts have beyond their shape: addresses, passwords, quotas."""

from typing import Any

from infrastructure.sandbox.stalwart.errors import SetError, invalid_property
from infrastructure.sandbox.stalwart.objects import Objects, Stored, number_id, text_id
from infrastructure.sandbox.stalwart.passwords import hash_password, is_hash, weakness
from infrastructure.sandbox.stalwart.permissions import Allowance, allowance

Body = dict[str, Any]


class Accounts:
    """Accounts as mail sees them."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def with_address(self, address: str) -> Stored | None:
        """The account that a name, or an alias that is enabled, at a domain or one of its other names leads to."""
        local, _, domain = address.lower().rpartition("@")
        number = self._objects.holder("Domain", domain)
        if number is None:
            return None
        account = self._objects.find("Account", self._objects.holder("Account", f"{local}@{text_id(number)}"))
        if account is None:
            return None
        aliases = [alias for alias in account.body["aliases"].values() if alias["name"] == local]
        return account if account.body["name"] == local or any(alias["enabled"] for alias in aliases) else None

    def address(self, account: Stored) -> str:
        domain = self._objects.find("Domain", number_id(account.body["domainId"]))
        assert domain is not None, "a domain outlives its accounts"
        return f"{account.body['name']}@{domain.body['name']}"

    def allowance(self, account: Stored) -> Allowance:
        tenant = self._objects.find("Tenant", account.tenant)
        return allowance(account.body, tenant.body if tenant else None)

    def used_bytes(self, account: Stored) -> int:
        return self._objects.used_bytes("account", account.id)

    def has_room(self, account: Stored, size: int) -> bool:
        """Whether so many bytes more fit the quota of the account, and of its tenant."""
        tenant = self._objects.find("Tenant", account.tenant)
        own = account.body["quotas"].get("maxDiskQuota")
        shared = tenant.body["quotas"].get("maxDiskQuota") if tenant else None
        fits = own is None or self.used_bytes(account) + size <= own
        return fits and (
            tenant is None or shared is None or self._objects.used_bytes("tenant", tenant.id) + size <= shared
        )


def password_of(body: Body) -> str | None:
    """The hash of the password credential."""
    for credential in body.get("credentials", {}).values():
        if credential["@type"] == "Password":
            secret: str = credential["secret"]
            return secret
    return None


def check_account(body: Body, old: Body | None) -> None:
    """Hashes a new password in place. Raises SetError `invalidProperties` for credentials that may not be."""
    if old is not None and body["@type"] != old["@type"]:
        raise invalid_property("@type", "Cannot change the type of an existing account.")
    known = {*(credential["secret"] for credential in (old or {}).get("credentials", {}).values())}
    passwords = 0
    for credential in body.get("credentials", {}).values():
        if credential["@type"] != "Password":
            raise invalid_property("credentials", "Secondary credentials cannot be set directly.")
        passwords += 1
        if passwords > 1:
            raise invalid_property("credentials", "Only one password credential is allowed.")
        secret = credential["secret"]
        if secret in known or is_hash(secret):
            continue
        reason = weakness(secret)
        if reason is not None:
            raise invalid_property("secret", reason)
        credential["secret"] = hash_password(secret)


def check_groups(objects: Objects, body: Body) -> None:
    """Raises SetError `invalidForeignKey` for a membership in what is no group."""
    for text in body.get("memberGroupIds", {}):
        group = objects.find("Account", number_id(text))
        if group is None or group.body["@type"] != "Group":
            raise SetError("invalidForeignKey", objectId={"object": "Account", "id": text})
