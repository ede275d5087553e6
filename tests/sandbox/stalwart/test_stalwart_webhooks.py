"""Webhooks: signed batches, told again with other ids until they are acknowledged or too old."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.sandbox.stalwart.process import Stalwart, eventually

SECRET = "key-that-signs-the-events"


class Receiver(ThreadingHTTPServer):
    """Remembers what it is sent; answers with the statuses in turn, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.received: list[tuple[dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/events"

    def batches(self) -> list[list[dict[str, Any]]]:
        return [json.loads(body)["events"] for _, body in [*self.received]]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.received.append((dict(self.headers), body))

    def log_message(self, *_arguments: Any) -> None:
        return


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    server = Receiver(*getattr(request, "param", (204,)))
    yield server
    server.shutdown()
    server.server_close()


def hook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    settings = {
        "url": receiver.url,
        "signatureKey": {"@type": "Value", "secret": SECRET},
        "events": {"message-ingest.ham": True, "auth.success": True, "auth.failed": True},
        "throttle": 50,
    }
    return {**settings, **more}


@dataclass(frozen=True)
class Hooked:
    """An account, and what is in force for the instance that it is on."""

    instance: Stalwart
    address: str

    def mail(self, size: int = 1) -> None:
        assert self.instance.mail(self.address, bytes=size) == "accepted"

    def add(self, settings: dict[str, Any], *, reload: bool = True) -> str:
        identity = self.instance.create("WebHook", settings)
        if reload:
            self.reload()
        return identity

    def reload(self) -> None:
        answer = self.instance.call("x:Action/set", {"create": {"a": {"@type": "ReloadSettings"}}})
        assert answer["created"].keys() == {"a"}


@pytest.fixture
def hooked(stalwart: Stalwart, domain: tuple[str, str]) -> Iterator[Hooked]:
    """No hook is there before the test, nor after it."""
    stalwart.user("jane", domain[0])
    yield Hooked(stalwart, f"jane@{domain[1]}")
    stalwart.call("x:WebHook/set", {"destroy": stalwart.call("x:WebHook/query", {})["ids"]})
    Hooked(stalwart, "").reload()


def signature(body: bytes) -> str:
    return base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()


def sizes(receiver: Receiver) -> list[int]:
    return [event["data"]["size"] for batch in receiver.batches() for event in batch]


def test_an_event_is_signed_over_the_raw_body(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver))
    hooked.mail(77)
    eventually(lambda: bool(receiver.received), "no event came")
    headers, body = receiver.received[0]
    assert headers["X-Signature"] == signature(body)
    [event] = json.loads(body)["events"]
    assert event.keys() == {"id", "createdAt", "type", "data"}
    assert event["type"] == "message-ingest.ham"
    assert event["data"]["size"] == 77
    assert event["createdAt"].endswith("Z")


def test_what_happens_between_two_requests_goes_in_one_batch(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver, throttle=1000))
    for size in range(1, 6):
        hooked.mail(size)
    eventually(lambda: len(sizes(receiver)) == 5, "not every event came")
    assert sizes(receiver) == [1, 2, 3, 4, 5]
    assert len(receiver.batches()) < 5


@pytest.mark.parametrize("receiver", [(503, 500, 204)], indirect=True)
def test_a_failed_batch_is_sent_again_with_other_ids(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver))
    hooked.mail(1)
    eventually(lambda: len(receiver.received) == 3, "the batch was not sent again")
    sent = [batch[0] for batch in receiver.batches()]
    assert len({event["id"] for event in sent}) == 3
    assert sent[0] | {"id": ""} == sent[1] | {"id": ""} == sent[2] | {"id": ""}
    hooked.mail(5)
    eventually(lambda: len(receiver.received) == 4, "the next event did not come")
    assert sizes(receiver)[3:] == [5]


@pytest.mark.parametrize("receiver", [(500,)], indirect=True)
def test_what_is_too_old_is_dropped(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver, discardAfter=1500))
    hooked.mail(1)
    eventually(lambda: sizes(receiver)[:1] == [1], "the event was not even tried")

    def is_forgotten() -> bool:
        hooked.mail(2)
        return all(event["data"]["size"] != 1 for event in receiver.batches()[-1])

    assert not is_forgotten()
    eventually(is_forgotten, "the event was tried for ever")


def test_a_hook_is_in_force_only_after_a_reload(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver), reload=False)
    hooked.mail(1)
    hooked.reload()
    hooked.mail(2)
    eventually(lambda: bool(receiver.received), "no event came")
    assert sizes(receiver) == [2]


def test_signing_in_is_an_event_and_managing_is_none(hooked: Hooked, receiver: Receiver) -> None:
    hooked.add(hook(receiver))
    hooked.instance.domain("silent.example")
    hooked.instance.sign_in(hooked.address, "wrong-Password-123")
    hooked.instance.sign_in(hooked.address)
    eventually(lambda: sum(map(len, receiver.batches())) == 2, "not every event came")
    events = [event for batch in receiver.batches() for event in batch]
    assert [event["type"] for event in events] == ["auth.failed", "auth.success"]
    assert events[1]["data"]["accountName"] == hooked.address
    assert events[1]["data"]["remoteIp"] == "127.0.0.1"


def test_a_policy_can_exclude_and_a_hook_can_rest(hooked: Hooked, receiver: Receiver) -> None:
    settings = hook(receiver, events={"message-ingest.ham": True}, eventsPolicy="exclude")
    hooked.add({**settings, "signatureKey": {"@type": "None"}})
    hooked.add(hook(receiver, enable=False))
    hooked.mail()
    hooked.instance.sign_in(hooked.address)
    eventually(lambda: bool(receiver.received), "no event came")
    assert [event["type"] for batch in receiver.batches() for event in batch] == ["auth.success"]
    assert "X-Signature" not in receiver.received[0][0]


def test_the_key_of_a_hook_is_masked_and_survives_the_mask(hooked: Hooked, receiver: Receiver) -> None:
    identity = hooked.add(hook(receiver))
    settings = hooked.instance.read("WebHook", identity)
    assert set(settings["signatureKey"]["secret"]) == {"*"}
    assert (settings["timeout"], settings["discardAfter"]) == (30_000, 300_000)
    same = {"signatureKey": settings["signatureKey"]}
    assert "updated" in hooked.instance.update("WebHook", identity, same)
    hooked.reload()
    hooked.mail()
    eventually(lambda: bool(receiver.received), "no event came")
    headers, body = receiver.received[0]
    assert headers["X-Signature"] == signature(body)
