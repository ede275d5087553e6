"""Answers that may be a few seconds old."""

from __future__ import annotations

import asyncio

import pytest

from shared.recent import Recent

pytestmark = pytest.mark.unit


class Source:
    """Counts how often it is asked; answers when ``open`` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False
        self.now = 100.0

    async def find(self, key: str) -> str:
        self.asked += 1
        mine = self.asked
        await self.open.wait()
        if self.fails:
            raise ConnectionError
        return f"{key}-{mine}"

    def recent(self) -> Recent[str, str]:
        return Recent(5.0, self.find, lambda: self.now)


async def test_an_answer_is_kept_until_it_is_too_old() -> None:
    source = Source()
    recent = source.recent()
    assert await recent.get("a") == "a-1"
    source.now += 5.0
    assert await recent.get("a") == "a-1"
    source.now += 0.1
    assert await recent.get("a") == "a-2"


async def test_all_who_ask_at_once_wait_for_one_search() -> None:
    source = Source()
    recent = source.recent()
    source.open.clear()
    waiting = [asyncio.create_task(recent.get("a")) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # who began the search may leave; it goes on for the others
    source.open.set()
    assert await asyncio.gather(*waiting[1:]) == ["a-1"] * 9
    assert source.asked == 1


async def test_age_counts_from_the_beginning_of_the_search() -> None:
    source = Source()
    recent = source.recent()
    source.open.clear()
    slow = asyncio.create_task(recent.get("a"))
    await asyncio.sleep(0)
    source.now += 5.1
    source.open.set()
    assert await slow == "a-1"
    assert await recent.get("a") == "a-2"


async def test_a_failure_is_told_and_not_kept() -> None:
    source = Source()
    recent = source.recent()
    source.fails = True
    with pytest.raises(ConnectionError):
        await recent.get("a")
    source.fails = False
    assert await recent.get("a") == "a-2"


async def test_each_key_has_an_answer_of_its_own() -> None:
    recent = Source().recent()
    assert [await recent.get("a"), await recent.get("b"), await recent.get("a")] == ["a-1", "b-2", "a-1"]
