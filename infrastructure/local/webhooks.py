"""Telling the mail server where its events go: a webhook, signed, to the gateway."""

from typing import Any

import httpx

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place

USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
DEADLINE_SECONDS = 4.0
# Who came in, who did not, and what became of mail; the hundreds of other types are for whoever debugs the server.
EVENTS = (
    *("auth.success", "auth.failed", "auth.error", "auth.too-many-attempts"),
    *("security.unauthorized", "security.authentication-ban", "security.abuse-ban", "security.scan-ban"),
    *("smtp.mailbox-does-not-exist", "limit.quota", "queue.authenticated-message-queued", "delivery.dsn-perm-fail"),
)


def webhook(place: Place, credentials: Credentials) -> dict[str, Any]:
    """The webhook, as Stalwart's `x:WebHook` describes it."""
    return {
        "url": f"{place.url(seeds.GATEWAY_OFFSET)}/webhooks/stalwart",
        "signatureKey": {"@type": "Value", "secret": credentials.suite["stalwart-webhook"]},
        "events": dict.fromkeys(EVENTS, True),
        "eventsPolicy": "include",
    }


async def prepare_stalwart(place: Place, credentials: Credentials) -> None:
    """Makes the one webhook of this fleet be as `webhook` says; safe to repeat.

    Raises RuntimeError, httpx.HTTPError.
    """
    wanted = webhook(place, credentials)
    headers = {"authorization": f"Bearer {seeds.stalwart_key(credentials)}"}
    async with httpx.AsyncClient(
        base_url=place.url(seeds.STALWART_OFFSET), headers=headers, timeout=DEADLINE_SECONDS, trust_env=False
    ) as http:
        ids = (await _call(http, "x:WebHook/query", {}))["ids"]
        found = (await _call(http, "x:WebHook/get", {"ids": ids}))["list"] if ids else []
        ours = [hook["id"] for hook in found if hook["url"].endswith("/webhooks/stalwart")]
        change = {"destroy": ours, "create": {"hook": wanted}}
        answer = await _call(http, "x:WebHook/set", change)
        if "hook" not in answer.get("created", {}):
            raise RuntimeError(f"the webhook for the audit log is refused: {answer.get('notCreated')}")
        await _call(http, "x:Action/set", {"create": {"reload": {"@type": "ReloadSettings"}}})


async def _call(http: httpx.AsyncClient, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = await http.post("/jmap", json={"using": USING, "methodCalls": [[method, arguments, "0"]]})
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()["methodResponses"][0][1]
    return result
