"""Events, and the webhooks that are told of them in signed batches.

What waits is kept in memory, as in the original: a crash loses it.
"""

import asyncio
import base64
import hmac
import itertools
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import httpx

from infrastructure.sandbox.stalwart.objects import Objects, now

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """`raised` is monotonic, in seconds."""

    raised: float
    created: str
    kind: str
    detail: Body


class Hook:
    """One webhook: a queue, and the loop that empties it, at most one request per `throttle`."""

    def __init__(self, settings: Body, numbers: "itertools.count[int]", client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._numbers = numbers
        self._client = client
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        included = self._settings["eventsPolicy"] == "include"
        if (event.kind in self._settings["events"]) == included:
            self._waiting.append(event)
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            oldest = time.monotonic() - self._settings["discardAfter"] / 1000
            while self._waiting and self._waiting[0].raised < oldest:
                self._waiting.popleft()
            batch = list(self._waiting)
            if not batch:
                self._wake.clear()
                continue
            if await self._delivered(batch):
                for _ in batch:
                    self._waiting.popleft()
            await asyncio.sleep(self._settings["throttle"] / 1000)

    async def _delivered(self, batch: list[Event]) -> bool:
        # Numbered at sending, not at raising: a batch that is sent again carries other ids, so ids cannot tell.
        events = [
            {"id": str(next(self._numbers)), "createdAt": event.created, "type": event.kind, "data": event.detail}
            for event in batch
        ]
        content = json.dumps({"events": events}).encode()
        timeout = self._settings["timeout"] / 1000
        try:
            answer = await self._client.post(
                self._settings["url"], content=content, headers=self._headers(content), timeout=timeout
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    def _headers(self, content: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", **self._settings["httpHeaders"]}
        key, auth = self._settings["signatureKey"], self._settings["httpAuth"]
        if key["@type"] == "Value":
            signature = hmac.digest(key["secret"].encode(), content, "sha256")
            headers["X-Signature"] = base64.b64encode(signature).decode()
        if auth["@type"] == "Basic":
            pair = base64.b64encode(f"{auth['username']}:{auth['secret']}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        elif auth["@type"] == "Bearer":
            headers["Authorization"] = f"Bearer {auth['bearerToken']}"
        return headers


class Events:
    """Tells the webhooks. Those in force are the ones of the last start or `ReloadSettings`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._numbers = itertools.count(time.time_ns() // 1_000_000)
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False)
        self._hooks: list[Hook] = []
        self._tasks: list[asyncio.Task[None]] = []

    def raise_event(self, kind: str, detail: Body) -> None:
        event = Event(time.monotonic(), now(), kind, detail)
        for hook in self._hooks:
            hook.offer(event)

    def reload(self) -> None:
        """Takes the settings as they are now; what waited for a hook is dropped."""
        self._cancel()
        enabled = [hook.body for hook in self._objects.every("WebHook") if hook.body["enable"]]
        self._hooks = [Hook(settings, self._numbers, self._client) for settings in enabled]
        self._tasks = [asyncio.create_task(hook.run()) for hook in self._hooks]

    async def close(self) -> None:
        self._cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
