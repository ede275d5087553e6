"""A platform that was backed up while people worked comes back whole, and forgets again whom it had forgotten."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from infrastructure.backup import streams
from infrastructure.backup.backing_up import back_up
from infrastructure.backup.deployment import Client, Deployment
from infrastructure.backup.erasures import write_down
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import opened
from infrastructure.backup.restoring import restore
from shared.clock import SystemClock
from shared.testing import person
from tests.backup.stand import Callings, Stand, Writers
from tests.support.waiting import eventually

CLOCK = SystemClock()
NEEDLES = [b"wilhelmina"]
FAR = 60.0


class Interrupted(Deployment):
    """Waits between the streams and the databases, until somebody says that enough has happened."""

    reached = threading.Event()
    go_on = threading.Event()

    def mongo(self) -> Client:
        type(self).reached.set()
        assert type(self).go_on.wait(FAR)
        return super().mongo()


async def lives(calls: Callings) -> str:
    """Wilhelmina is invited, works, and is refused by two services, which keep who asked."""
    them = await calls.invite("wilhelmina")
    me = person(id=them, email="wilhelmina@backup.example", name="Wilhelmina")
    for service, path in (("flags", "/api/flags/any/kill"), ("tenant", f"/api/users/{them}/deactivate")):
        refused = await calls.call(service, "POST", path, me)
        assert refused.status_code == 403, refused.text
    return them


async def backed_up_under_load(stand: Stand, calls: Callings, target: Path, erased: Path) -> set[str]:
    """Back up while writers work, also between the two halves; return who was acknowledged before it began."""
    writers = Writers(calls, 3)
    await writers.more(10)
    before = set(writers.acknowledged)
    Interrupted.reached.clear()
    Interrupted.go_on.clear()
    running = asyncio.create_task(back_up(stand.deployment(Interrupted), target, erased, CLOCK))
    await asyncio.to_thread(Interrupted.reached.wait, FAR)
    halfway = set(writers.acknowledged)
    await writers.more(10)

    async def chained() -> bool:
        with stand.root() as root:
            rows = root[stand.databases["tenant"]]["outbox"].find(
                {"aggregate": {"$in": [f"users/{p}" for p in halfway]}}
            )
            return {row["_id"] for row in rows} <= set(stand.logged())

    await eventually(chained)
    Interrupted.go_on.set()
    await running
    await writers.stop()
    return before


async def whole(stand: Stand, calls: Callings, acknowledged: set[str]) -> None:
    """All acknowledged people are there, each event is in the stream and no other, and once in the log; it verifies."""
    await stand.settled()
    with stand.root() as root:
        people = {row["_id"] for row in root[stand.databases["tenant"]]["people"].find({}, {"_id": 1})}
    assert acknowledged <= people
    async with stand.administrator() as admin:
        js, name = admin.jetstream(), stand.topology.stream_events
        last = (await js.stream_info(name)).state.last_seq
        told = {
            json.loads((await js.get_msg(name, number, direct=True)).data or b"")["id"] for number in range(1, last + 1)
        }
    assert stand.committed() == told
    verified = (await calls.call("audit", "GET", "/api/audit/verify")).json()
    assert (verified["ok"], verified.get("break"), verified["headSeq"]) == (True, None, len(stand.logged()))


async def test_what_was_acknowledged_before_a_backup_is_there_after_it_and_who_was_erased_since_is_not(
    stand: Stand, folder: Path
) -> None:
    target, erased = folder / "one", folder / "erasures.jsonl"
    async with stand.serving() as calls:
        gone = await lives(calls)
        acknowledged = await backed_up_under_load(stand, calls, target, erased)
        done = await calls.call("tenant", "POST", f"/api/users/{gone}/erase")
        assert done.status_code == 200, done.text
        await stand.settled()
        lost = await calls.invite("after-the-backup")
        assert await write_down(stand.deployment(), erased) == 1
    await stand.wipe()

    restored = await restore(stand.deployment(), target, erased, CLOCK)
    assert (restored.people, restored.from_the_start) == (1, [])
    # Before anybody serves:
    assert stand.collections_with(NEEDLES) == set()
    with stand.root() as root:
        key = root[stand.databases["audit"]]["person_keys"].find_one({"_id": f"person:{gone}"})
    assert key is not None
    assert "wrapped" not in key
    assert f"KV_{stand.prefix}-gateway-sessions" not in await stand.streams()
    await consumers_are_where_they_were(stand, target)

    await stand.bootstrap()
    async with stand.serving() as calls:
        await whole(stand, calls, acknowledged)
        seen = (await calls.call("tenant", "GET", f"/api/users/{gone}")).json()
        assert (seen["status"], seen["email"], seen["name"]) == ("erased", "", "")
        assert (await calls.call("tenant", "GET", f"/api/users/{lost}")).status_code == 404
        entries = (await calls.call("audit", "GET", "/api/audit?action=user.erased")).json()["items"]
        assert [entry["resourceId"] for entry in entries] == [gone]
        shown = (await calls.call("audit", "GET", "/api/audit?format=ndjson")).text
        assert "wilhelmina" not in shown.lower()
        await calls.invite("life-goes-on")
        await stand.settled()
    assert stand.collections_with(NEEDLES) == set()

    with pytest.raises(Refused, match=r"MongoDB is not empty: database \w+ has the collection .* empty data folders"):
        await restore(stand.deployment(), target, erased, CLOCK)


async def consumers_are_where_they_were(stand: Stand, target: Path) -> None:
    """The log's consumer begins behind what it had acknowledged before the streams were copied."""
    (events,) = (copied for copied in opened(target).streams if copied.kind == streams.EVENTS)
    async with stand.administrator() as admin:
        about = await admin.jetstream().consumer_info(
            stand.topology.stream_events, stand.topology.durable("audit-chain")
        )
    assert about.ack_floor is not None
    assert 0 < about.ack_floor.stream_seq == events.acknowledged["audit-chain"] <= events.state["last_seq"]


@pytest.fixture
async def small(stand: Stand, folder: Path) -> Path:
    """A backup of a platform without services, which is then lost."""
    with stand.root() as root:
        for service, database in stand.databases.items():
            root[database]["things"].insert_many([{"_id": number, "of": service} for number in range(3)])
            root[database]["things"].create_index("of")
        root[stand.databases["audit"]]["erasures"].insert_one({"_id": "p1", "at": CLOCK.now()})
        looked_for = {"_id": "p1", "at": CLOCK.now(), "after": 5}
        root[stand.databases["health"]]["erased_people"].insert_one(looked_for)
    async with stand.administrator() as admin:
        await admin.jetstream().publish(f"{stand.prefix}.events.tenant.happened.v1", b"{}")
    await back_up(stand.deployment(), folder / "one", folder / "erasures.jsonl", CLOCK)
    await stand.wipe()
    return folder / "one"


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def refused(stand: Stand, source: Path, **more: Any) -> str:
    """Try to restore; return why not, having seen that nothing was written."""
    with pytest.raises(Refused) as caught:
        await restore(stand.deployment(), source, more.get("erased", source.parent / "erasures.jsonl"), CLOCK)
    assert (stand.present(), await stand.streams()) == ([], [])
    return str(caught.value)


async def test_one_altered_byte_anywhere_is_refused_before_anything_is_written(stand: Stand, small: Path) -> None:
    files = files_of(small)
    assert len(files) == 6 * 2 + 2 + 2
    for path in files:
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]) if path.suffix != ".sha256" else b"0" * 64)
        assert "SHA-256" in await refused(stand, small), path
        path.write_bytes(kept)
    cut = small / "mongo" / "tenant" / "things.bson"
    kept = cut.read_bytes()
    cut.write_bytes(kept[:-5])
    assert f"has {len(kept) - 5} bytes, and {len(kept)} were written" in await refused(stand, small)
    cut.unlink()
    assert "No such file" in await refused(stand, small)


async def test_half_a_backup_and_a_list_of_the_erased_that_is_missing_or_shorter_are_refused(
    stand: Stand, small: Path
) -> None:
    erased = small.parent / "erasures.jsonl"
    kept = erased.read_text()
    erased.unlink()
    assert f"The list of the erased, {erased}, is missing" in await refused(stand, small)
    erased.write_text('{"person": "p"}\n')
    assert "line 1 names no erasure" in await refused(stand, small)
    erased.write_text("")
    assert "names 0 people, and named 1 when the backup was made" in await refused(stand, small)
    erased.write_text(kept)
    half = small.with_name("half")
    shutil.copytree(small, half)
    (half / "manifest.json.sha256").unlink()
    assert "is no whole backup" in await refused(stand, half)
    draft = small.with_name("two.partial")
    shutil.copytree(small, draft)
    assert "is no whole backup" in await refused(stand, draft)
    with pytest.raises(Refused, match=r"two\.partial exists: another backup makes it, or one was interrupted"):
        await back_up(stand.deployment(), small.with_name("two"), erased, CLOCK)


async def test_a_backup_replaces_nothing_and_one_that_breaks_off_leaves_nothing(stand: Stand, small: Path) -> None:
    erased = small.parent / "erasures.jsonl"
    with pytest.raises(Refused, match="exists already"):
        await back_up(stand.deployment(), small, erased, CLOCK)
    # All is lost: there is no stream to copy.
    with pytest.raises(Refused, match=r"NATS refuses consumer .*: stream not found"):
        await back_up(stand.deployment(), small.with_name("two"), erased, CLOCK)
    await stand.bootstrap()
    with pytest.raises(Refused, match="MongoDB holds nothing in "):
        await back_up(stand.deployment(), small.with_name("two"), erased, CLOCK)
    assert sorted(path.name for path in small.parent.iterdir()) == ["erasures.jsonl", "one"]
    with pytest.raises(Refused, match="would lie inside the backup"):
        await back_up(stand.deployment(), small.with_name("two"), small.with_name("two") / "list", CLOCK)


async def test_a_stream_that_has_held_messages_is_not_replaced_and_one_that_never_did_is(
    stand: Stand, small: Path
) -> None:
    erased = small.parent / "erasures.jsonl"
    await stand.bootstrap()
    restored = await restore(stand.deployment(), small, erased, CLOCK)
    assert restored.people == 1
    with stand.root() as root:
        # The dead letters are older than what the health service remembers of them.
        assert [row["after"] for row in root[stand.databases["health"]]["erased_people"].find()] == [0]
        things = root[stand.databases["flags"]]["things"]
        assert ([row["_id"] for row in things.find()], sorted(things.index_information())) == (
            [0, 1, 2],
            ["_id_", "of_1"],
        )
        for database in stand.databases.values():
            root.drop_database(database)
    with pytest.raises(Refused, match=r"JetStream is not empty: .*-EVENTS has held messages"):
        await restore(stand.deployment(), small, erased, CLOCK)
