"""The mail server is told where its events go: once, however often it starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local import seeds
from infrastructure.local.lifecycle import credentials_of
from infrastructure.local.place import Place
from infrastructure.local.webhooks import prepare_stalwart
from tests.sandbox.stalwart.process import Stalwart


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "home", 1024)
    made.prepare()
    return made


@pytest.fixture
def stalwart(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalwart]:
    key = seeds.stalwart_key(credentials_of(place))
    instance = Stalwart(tmp_path, apiKey=key)
    monkeypatch.setattr(seeds, "STALWART_OFFSET", instance.port - place.port_base)
    instance.start()
    yield instance
    instance.stop()
    instance.close()


async def test_the_mail_server_has_one_webhook_to_the_gateway_however_often_it_starts(
    place: Place, stalwart: Stalwart
) -> None:
    credentials = credentials_of(place)
    for _ in range(2):
        await prepare_stalwart(place, credentials)
    key = seeds.stalwart_key(credentials)
    hooks = stalwart.call("x:WebHook/get", {"ids": stalwart.call("x:WebHook/query", {}, key)["ids"]}, key)["list"]
    assert [hook["url"] for hook in hooks] == [f"{place.url(seeds.GATEWAY_OFFSET)}/webhooks/stalwart"]
    assert hooks[0]["events"]["auth.failed"] is True
