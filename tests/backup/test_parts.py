"""The parts of a backup one by one: what is told again, the list of the erased, keys, and one moment beside changes."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from infrastructure.backup import cli, databases, keys, telling
from infrastructure.backup.erasures import ErasureList
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import Draft, Writing, write_anew
from infrastructure.backup.manifest import Manifest, Moment, StoredFile
from infrastructure.local.servers.mongod import MongodServer
from services.audit.erasing import Erasure
from tests.support.servers import TestDatabase

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = Erasure("p1", NOON), Erasure("p2", NOON + timedelta(days=1))


def raw(**row: Any) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(row), telling._DECODED.with_options(document_class=RawBSONDocument))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("told", "lay", "again"),
    [
        (timedelta(minutes=-11), timedelta(days=1), False),
        (timedelta(minutes=-9), timedelta(days=1), True),  # a clock that is behind may have told it afterwards
        (timedelta(minutes=1), timedelta(days=1), True),
        # 30 days of the stream less 7 days of the outboxes: what was told a week before may have left the stream.
        (timedelta(days=-6), timedelta(days=22), False),
        (timedelta(days=-6), timedelta(days=24), True),
    ],
)
def test_what_may_not_be_in_the_stream_is_told_again_under_its_old_number(
    told: timedelta, lay: timedelta, again: bool
) -> None:
    row = raw(_id="e", seq=7, envelope={"id": "e"}, publishedAt=NOON + told)
    since = telling.told_again_since(NOON, NOON + lay)
    expected = {"_id": "e", "seq": 7, "envelope": {"id": "e"}}
    expected |= {"pending": True} if again else {"publishedAt": NOON + told}
    assert {name: value for name, value in telling.told_again(row, since).items() if name != "envelope"} == {
        name: value for name, value in expected.items() if name != "envelope"
    }
    assert dict(telling.told_again(row, since))["envelope"]["id"] == "e"
    waiting = raw(_id="w", pending=True)
    assert telling.told_again(waiting, since) is waiting


@pytest.mark.unit
def test_an_inbox_forgets_no_earlier_than_it_would_have_without_the_time_that_the_backup_lay() -> None:
    change = telling.changes(NOON, NOON + timedelta(days=40))["inbox"]
    key = {"consumer": "c", "generation": 1, "event": "e"}
    aged = dict(change(raw(_id=key, at=NOON - timedelta(days=2))))
    assert aged == {"_id": key, "at": NOON + timedelta(days=38)}


@pytest.mark.unit
def test_the_list_of_the_erased_only_grows(tmp_path: Path) -> None:
    kept = ErasureList(tmp_path / "apart" / "erasures.jsonl")
    assert kept.add([]) == 0
    assert kept.add([ONE]) == 1
    first = kept.path.read_text()
    assert first == '{"person": "p1", "at": "2026-11-22T12:00:00.000Z"}\n'
    # The databases are older than the list; a line lost its end.
    kept.path.write_text(first.rstrip("\n"))
    assert kept.add([TWO, TWO]) == 2
    assert kept.path.read_text().startswith(first)
    assert kept.people() == [ONE, TWO]
    assert kept.path.stat().st_mode & 0o777 == 0o600
    kept.path.write_text(first + first[:20])
    with pytest.raises(Refused, match="line 2 names no erasure"):
        kept.add([TWO])


@pytest.mark.unit
def test_keys_are_in_a_private_file_of_their_own_and_never_mixed_with_others(tmp_path: Path) -> None:
    folder, packed, back = tmp_path / "secrets", tmp_path / "safe" / "one.tar", tmp_path / "back"
    (folder / "tls").mkdir(parents=True)
    for name in ("mongo.json", "nats.conf", "tls/key.pem", ".draft"):
        (folder / name).write_text(f"secret of {name}")
    stored = keys.copy(keys.Packing(folder, packed, frozenset({"nats.conf"})))
    assert packed.stat().st_mode & 0o777 == 0o600
    assert keys.restore(packed, stored, back) == 2
    assert (back / "tls" / "key.pem").read_text() == "secret of tls/key.pem"
    assert {path.stat().st_mode & 0o777 for path in back.rglob("*") if path.is_file()} == {0o600}
    assert keys.restore(packed, stored, back) == 0
    (back / "mongo.json").write_text("of another fleet")
    with pytest.raises(Refused, match=r"mongo\.json is not the one in .*one\.tar"):
        keys.restore(packed, stored, back)
    with pytest.raises(Refused, match="exists already"):
        keys.copy(keys.Packing(folder, packed))
    other = stored.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(Refused, match="another SHA-256"):
        keys.restore(packed, other, tmp_path / "third")
    with pytest.raises(Refused, match="holds no keys"):
        keys.copy(keys.Packing(tmp_path / "nothing", tmp_path / "two.tar"))
    assert not (tmp_path / "third").exists()


@pytest.mark.unit
@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_a_file_of_keys_writes_nothing_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(Refused, match="which no backup puts there"):
        keys.restore(tmp_path / "bad.tar", None, tmp_path / "secrets")
    assert not (tmp_path / "outside").exists()


@pytest.mark.unit
def test_a_backup_is_checked_without_servers_and_settings_that_are_missing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft(tmp_path / "one")
    with draft.file("jetstream/events.snapshot") as file:
        file.write(b"messages")
    manifest = Manifest(
        format=1,
        streams_at=NOON,
        mongo_at=Moment(seconds=1, increment=1),
        versions={},
        collections=[],
        streams=[],
        left_out=["stray"],
        erasures=3,
        keys=StoredFile(path="one.tar", length=1, sha256="0" * 64),
    )
    draft.finish(manifest)
    assert cli.main(["check", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert "3 people were erased by then" in said
    assert "Not in it, as no service owns them: stray" in said
    assert cli.main(["check", str(tmp_path / "two")]) == 1
    assert "two is no whole backup. Name the folder" in capsys.readouterr().err
    for variable in ("BACKUP_MONGO_URI", "BACKUP_NATS_URL", "BACKUP_ERASURES"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(["erasures"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "BACKUP_MONGO_URI: is not set",
        "BACKUP_NATS_URL: is not set",
        "BACKUP_ERASURES: is not set",
    ]


class Disturbed(Draft):
    """Lets something happen whenever a collection begins to be copied."""

    def __init__(self, target: Path, disturb: Callable[[str], None]) -> None:
        super().__init__(target)
        self._disturb = disturb

    @contextmanager
    def file(self, path: str) -> Iterator[Writing]:
        self._disturb(path)
        with super().file(path) as file:
            yield file


@pytest.fixture
def accounts(
    database: TestDatabase, drop_database: Callable[[str], None]
) -> Iterator[tuple[MongoClient[Any], dict[str, str]]]:
    """Two databases whose balances are 100 together at every moment."""
    names = {service: f"{database.name}_{service}" for service in ("billing", "tenant")}
    with MongoClient[Any](database.uri) as client:
        for service, name in names.items():
            client[name]["accounts"].insert_one({"_id": service, "balance": 50})
        yield client, names
    for name in names.values():
        drop_database(name)


def move(client: MongoClient[Any], names: dict[str, str], amount: int) -> None:
    def body(session: Any) -> None:
        for service, change in (("billing", -amount), ("tenant", amount)):
            row = client[names[service]]["accounts"]
            row.update_one({"_id": service}, {"$inc": {"balance": change}}, session=session)

    with client.start_session() as session:
        session.with_transaction(body)


def total(folder: Path) -> int:
    return sum(bson.decode(path.read_bytes())["balance"] for path in folder.rglob("accounts.bson"))


def test_all_databases_are_of_one_moment_and_a_collection_that_comes_meanwhile_is_not_missed(
    accounts: tuple[MongoClient[Any], dict[str, str]], tmp_path: Path
) -> None:
    client, names = accounts
    seen: list[str] = []

    def disturb(path: str) -> None:
        seen.append(path)
        move(client, names, 10)
        if len(seen) == 2:
            client[names["billing"]]["late"].insert_one({"_id": 1})

    draft = Disturbed(tmp_path / "one", disturb)
    copied = databases.copy(client, names, draft)
    assert total(tmp_path / "one.partial") == 100
    assert [(each.service, each.name, each.documents) for each in copied.collections] == [
        ("billing", "accounts", 1),
        ("billing", "late", 1),
        ("tenant", "accounts", 1),
    ]
    assert set(names.values()).isdisjoint(copied.left_out)

    def always(path: str) -> None:
        client[names["billing"]][f"c{time.monotonic_ns()}"].insert_one({})

    with pytest.raises(Refused, match="came or went during each of 3 attempts"):
        databases.copy(client, names, Disturbed(tmp_path / "two", always))


def test_a_copy_that_takes_longer_than_the_server_keeps_a_moment_is_refused_with_the_command_that_helps(
    accounts: tuple[MongoClient[Any], dict[str, str]], mongod: MongodServer, tmp_path: Path
) -> None:
    client, names = accounts
    name = "minSnapshotHistoryWindowInSeconds"
    ended = threading.Event()

    def dawdle(path: str) -> None:
        if path.endswith("billing/accounts.metadata.json"):
            began = time.monotonic()
            while time.monotonic() < began + 1.5 and not ended.is_set():
                move(client, names, 1)

    client.admin.command({"setParameter": 1, name: 0})
    try:
        with pytest.raises(Refused, match=r"longer than MongoDB keeps a moment, which is 0 s\. On every member run"):
            databases.copy(client, names, Disturbed(tmp_path / "one", dawdle))
    finally:
        client.admin.command({"setParameter": 1, name: 300})


@pytest.mark.unit
def test_files_are_private(tmp_path: Path) -> None:
    with write_anew(tmp_path / "file") as file:
        file.write(b"x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
