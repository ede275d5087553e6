"""The objects that can be managed: their properties, keys and filters, as the published schema describes them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infrastructure.sandbox.stalwart.shapes import (
    Choice,
    Flag,
    Ignored,
    Listed,
    Mapped,
    Marked,
    Property,
    Record,
    Reference,
    Text,
    Variants,
    Whole,
    variants,
)

Body = dict[str, Any]
MASK = "********"
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN_NAME = Text(253, rf"{LABEL}(\.{LABEL})+", "Invalid domain name", lower=True)
LOCAL_PART = Text(64, r"[^\s@\"(),:;<>\[\]\\\x00-\x1f]+", "Invalid email local part", lower=True)
NAME, WORDS = Text(255), Text(1024)
MOMENT = Text(40, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "Invalid UTC date")
PERMISSION_SET = {
    "enabledPermissions": Property(Marked(NAME), default={}),
    "disabledPermissions": Property(Marked(NAME), default={}),
}
PERMISSIONS = variants("Inherit", Merge=Record(PERMISSION_SET), Replace=Record(PERMISSION_SET))
INHERIT = {"@type": "Inherit"}
SERVER = Property(Ignored(), server=True)
TENANT = Property(Reference("Tenant"))


def _map_of(*names: str) -> Property:
    return Property(Mapped(Choice(names), Whole()), default={})


# What a sandbox cannot automate, for want of DNS and of an authority.
BY_HAND = Property(variants("Manual"), required=True)
PASSWORD = Record(
    {
        "credentialId": Property(Ignored()),
        "secret": Property(Text(4096), required=True),
        "otpAuth": Property(Text(1024)),
        "expiresAt": Property(MOMENT),
        "allowedIps": Property(Marked(Text(64)), default={}),
    }
)
# Present so that they can be refused by name.
SECONDARY = Record({name: Property(Ignored()) for name in ("credentialId", "secret", "description", "permissions")})
ALIAS = Record(
    {
        "name": Property(LOCAL_PART, required=True),
        "domainId": Property(Reference("Domain"), required=True),
        "enabled": Property(Flag(), default=True),
        "description": Property(WORDS),
    }
)
ADDRESS = {
    "name": Property(LOCAL_PART, required=True),
    "domainId": Property(Reference("Domain"), required=True),
    "description": Property(WORDS),
    "aliases": Property(Listed(ALIAS), default={}),
    "memberTenantId": TENANT,
    "permissions": Property(PERMISSIONS, default=INHERIT),
    "quotas": _map_of("maxDiskQuota", "maxEmails", "maxMailboxes", "maxApiKeys", "maxAppPasswords"),
    "locale": Property(Text(20), default="en_US"),
    "timeZone": Property(Text(64)),
    "id": SERVER,
    "emailAddress": SERVER,
    "createdAt": SERVER,
    "usedDiskQuota": SERVER,
}
USER = Record(
    {
        **ADDRESS,
        "credentials": Property(
            Listed(Variants({"Password": PASSWORD, "AppPassword": SECONDARY, "ApiKey": SECONDARY})), default={}
        ),
        "memberGroupIds": Property(Marked(Reference("Account")), default={}),
        "roles": Property(variants("User", "Admin"), required=True),
        "encryptionAtRest": Property(variants("Disabled"), default={"@type": "Disabled"}),
    }
)
GROUP = Record({**ADDRESS, "roles": Property(variants("Default", "User"), default={"@type": "Default"})})
DOMAIN = Record(
    {
        "name": Property(DOMAIN_NAME, required=True, fixed=True),
        "aliases": Property(Marked(DOMAIN_NAME), default={}),
        "isEnabled": Property(Flag(), default=True),
        "description": Property(WORDS),
        "logo": Property(Text(1_000_000)),
        "certificateManagement": BY_HAND,
        "dkimManagement": BY_HAND,
        "dnsManagement": BY_HAND,
        "memberTenantId": TENANT,
        "directoryId": Property(Reference("Directory")),
        "catchAllAddress": Property(Text(320, r"[^\s@]+@[^\s@]+\.[^\s@]+", "Invalid email address")),
        "id": SERVER,
        "createdAt": SERVER,
        "dnsZoneFile": SERVER,
    }
)
TENANT_RECORD = Record(
    {
        "name": Property(NAME, required=True),
        "logo": Property(Text(1_000_000)),
        "roles": Property(variants("Default"), default={"@type": "Default"}),
        "permissions": Property(PERMISSIONS, default=INHERIT),
        "quotas": _map_of(
            *("maxAccounts", "maxGroups", "maxDomains", "maxMailingLists", "maxRoles", "maxOauthClients"),
            *("maxDkimKeys", "maxDnsServers", "maxDirectories", "maxAcmeProviders", "maxDiskQuota"),
        ),
        "id": SERVER,
        "createdAt": SERVER,
        "usedDiskQuota": SERVER,
    }
)
SECRET = Record({"secret": Property(Text(4096), required=True)})
WEB_HOOK = Record(
    {
        "url": Property(Text(2048, r"https?://\S+", "Invalid URI"), required=True),
        "enable": Property(Flag(), default=True),
        "signatureKey": Property(variants("None", Value=SECRET), required=True),
        "events": Property(Marked(Text(100, r"[a-z0-9-]+\.[a-z0-9-]+", "Invalid event type")), default={}),
        "eventsPolicy": Property(Choice(("include", "exclude")), default="include"),
        "level": Property(Choice(("error", "warn", "info", "debug", "trace")), default="info"),
        "lossy": Property(Flag(), default=False),
        "throttle": Property(Whole(), default=1_000),
        "timeout": Property(Whole(), default=30_000),
        "discardAfter": Property(Whole(), default=300_000),
        "httpAuth": Property(
            variants(
                "Unauthenticated",
                Basic=Record({"username": Property(NAME, required=True), **SECRET.members}),
                Bearer=Record({"bearerToken": Property(Text(4096), required=True)}),
            ),
            default={"@type": "Unauthenticated"},
        ),
        "httpHeaders": Property(Mapped(Text(100), Text(4096)), default={}),
        "allowInvalidCerts": Property(Flag(), default=False),
        "id": SERVER,
    }
)
API_KEY = Record(
    {
        "description": Property(NAME, required=True),
        "expiresAt": Property(MOMENT),
        "permissions": Property(
            variants("Inherit", Disable=Record(PERMISSION_SET), Replace=Record(PERMISSION_SET)), default=INHERIT
        ),
        "allowedIps": Property(Marked(Text(64)), default={}),
        "id": SERVER,
        "secret": SERVER,
        "createdAt": SERVER,
    }
)


def _account_keys(body: Body) -> dict[str, str]:
    aliases = {f"{alias['name']}@{alias['domainId']}": "aliases" for alias in body["aliases"].values()}
    return {**aliases, f"{body['name']}@{body['domainId']}": "name"}


def _domain_keys(body: Body) -> dict[str, str]:
    return {**dict.fromkeys(body["aliases"], "aliases"), body["name"]: "name"}


def _no_keys(_body: Body) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Kind:
    """An object type. `keys` are unique among its objects; only `filters` are indexed, and may be asked for.

    `owned` objects belong to the account that calls, and are seen by it alone.
    """

    name: str
    shape: Record | Variants
    keys: Callable[[Body], dict[str, str]] = _no_keys
    filters: tuple[str, ...] = ()
    owned: bool = False
    read_only: bool = False

    def record(self, body: Body) -> Record:
        return self.shape if isinstance(self.shape, Record) else self.shape.records[body["@type"]]

    def writable(self, body: Body) -> Body:
        """Without what only the server sets, which a reading would refuse."""
        members = self.record(body).members
        return {key: value for key, value in body.items() if key == "@type" or not members[key].server}

    def permission(self, change: str) -> str:
        return f"sys{self.name}{change}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Domain", DOMAIN, _domain_keys, ("text", "name", "aliases", "memberTenantId")),
        Kind(
            "Account",
            Variants({"User": USER, "Group": GROUP}),
            _account_keys,
            ("text", "name", "domainId", "@type", "memberGroupIds", "memberTenantId"),
        ),
        Kind("Tenant", TENANT_RECORD, lambda body: {body["name"].casefold(): "name"}, ("text",)),
        Kind("WebHook", WEB_HOOK),
        Kind("ApiKey", API_KEY, owned=True),
        Kind("Task", Record({"id": SERVER}), read_only=True),
    )
}


def masked(value: Any) -> Any:
    """A copy in which every secret reads as the mask."""
    if isinstance(value, dict):
        return {
            key: MASK if key in ("secret", "otpAuth", "bearerToken") and item is not None else masked(item)
            for key, item in value.items()
        }
    return value


def unmasked(value: Any, old: Any) -> Any:
    """A copy in which a mask that was sent back is what it hides."""
    if isinstance(value, dict):
        known = old if isinstance(old, dict) else {}
        return {key: unmasked(item, known.get(key)) for key, item in value.items()}
    return old if value == MASK and isinstance(old, str) else value


def matches(shown: Body, name: str, value: Any) -> bool:
    """Whether an object, as callers see it, answers to one filter."""
    if name == "text":
        words = {*_words(" ".join(str(shown.get(key) or "") for key in ("name", "description", "emailAddress")))}
        return all(word in words for word in _words(value))
    held = shown.get(name)
    if isinstance(held, dict):
        return str(value) in held
    return bool(held == (value.lower() if name == "name" and "domainId" in shown else value))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
