"""Bundles leave the service and verify elsewhere: a real export, the file alone, an empty directory, `python -I`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from services.audit import bundle
from services.audit.models import Query
from services.audit.personal import Vault
from services.audit.proofs.export import MOST_ENTRIES, Exporter, Opener, Selection
from services.audit.proofs.models import CheckpointMissing, EntriesMissing, TreeDamaged
from services.audit.proofs.note import Signer, signed_note
from services.audit.repository import AuditRepository
from shared.errors import Invalid
from shared.testing import ManualClock
from tests.audit.events import JANE
from tests.audit.proofs.conftest import (
    ORIGIN,
    OTHER_SEED,
    SEED,
    Witnessed,
    checkpoint_row,
    exported,
    rfc6962_root,
)

Record = dict[str, Any]
KEY = Signer(ORIGIN, SEED).verifier
LATER = Signer(ORIGIN, OTHER_SEED).verifier
SOURCE = Path(bundle.__file__)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with nothing in it but the verifier."""
    shutil.copy(SOURCE, tmp_path / "bundle.py")
    return tmp_path


def run(directory: Path, content: bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "log.jsonl").write_bytes(content)
    command = [sys.executable, "-I", "bundle.py", "log.jsonl", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env={}, timeout=60, check=False)


def records(content: bytes) -> list[Record]:
    return [json.loads(line) for line in content.splitlines()]


def sealed(changed: list[Record]) -> bytes:
    """Records as a bundle whose last line is right again: whoever tampers can do that."""
    body = b"".join(rfc8785.dumps(record) + b"\n" for record in changed if record["kind"] != "end")
    end = [{**record, "sha256": hashlib.sha256(body).hexdigest()} for record in changed if record["kind"] == "end"]
    return body + b"".join(rfc8785.dumps(record) + b"\n" for record in end)


async def _log(log: Witnessed) -> None:
    """Twelve entries, two checkpoints by one key and one by the next; the last two entries are under none."""
    await log.grow_log(5)
    await log.checkpoint()
    await log.grow_log(4)
    await log.checkpoint()
    await log.grow_log(3)
    await log.checkpoint(OTHER_SEED)
    await log.grow_log(2)


async def test_a_real_export_verifies_in_an_empty_directory(
    log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await _log(log)
    content = await exported(exporter, Selection(Query()))
    done = run(elsewhere, content, "--key", str(KEY), "--key", LATER.public.hex())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ok: 12 entries in seq 1 to 12, 0 values revealed, 3 checkpoints of {ORIGIN}" in done.stdout
    assert f"signed by {KEY.public.hex()} (given)" in done.stdout
    assert "WARNING" not in done.stdout
    own = run(elsewhere, content)
    assert own.returncode == 0
    assert f"signed by {LATER.public.hex()} (from the bundle)" in own.stdout
    assert "WARNING: trust is not established" in own.stdout


@pytest.mark.unit
def test_the_file_knows_nothing_of_the_service() -> None:
    imports = {line.split()[1].split(".")[0] for line in SOURCE.read_text().splitlines() if _imports(line)}
    assert imports <= set(sys.stdlib_module_names)


def _imports(line: str) -> bool:
    return line.startswith(("import ", "from ")) and "__future__" not in line


async def test_a_key_that_nobody_gave_is_not_trusted(log: Witnessed, exporter: Exporter, elsewhere: Path) -> None:
    await _log(log)
    content = await exported(exporter, Selection(Query()))
    stranger = Signer(ORIGIN, hashlib.sha256(b"a stranger").digest()).verifier
    done = run(elsewhere, content, "--key", str(stranger))
    assert done.returncode == 1
    assert done.stderr == "BAD: line 4 (checkpoint 1): the note is not signed by a known key\n"
    assert run(elsewhere, content, "--key", str(KEY)).stderr.startswith("BAD: line 6 (checkpoint 3): the note is not")


async def test_what_is_no_bundle_and_what_is_no_key_is_said_with_code_2(elsewhere: Path) -> None:
    for content in (b"", b"hello\n", b"{}\n", b'{"kind":"end"}\n'):
        done = run(elsewhere, content)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("cannot verify: ")
    assert run(elsewhere, b"", "--key", "hello").returncode == 2
    assert run(elsewhere, b"", "--key", str(KEY).replace("audit", "Audit")).returncode == 2
    assert run(elsewhere, b"", "--wrong").returncode == 2


async def test_personal_values_are_in_a_bundle_only_if_asked_for_and_prove_their_commitments(
    log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await _log(log)
    closed = await exported(exporter, Selection(Query()))
    for value in (b"nordic.example", b"203.0.113.7", b"Erna Muster"):
        assert value.lower() not in closed.lower()
    assert b'"revealed"' not in closed
    content = await exported(exporter, Selection(Query(), reveal=True))
    entry = next(r for r in records(content) if r["kind"] == "entry" and r["entry"]["actorId"] == JANE)
    item = entry["revealed"]["/actorEmail"]
    assert item["value"] == "Jane@Nordic.example"
    digest = hmac.digest(bytes.fromhex(item["salt"]), b'"Jane@Nordic.example"', "sha256")
    assert entry["entry"]["actorEmail"] == {"$commit": digest.hex()}
    done = run(elsewhere, content, "--key", str(KEY), "--key", str(LATER))
    revealed = sum(len(r["revealed"]) for r in records(content) if r["kind"] == "entry")
    assert revealed > 20
    assert f"{revealed} values revealed" in done.stdout


async def test_the_values_of_an_erased_person_are_gone_and_the_rest_still_verifies(
    log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await _log(log)
    await log.root_db["person_keys"].update_one({"_id": f"person:{JANE}"}, {"$unset": {"wrapped": 1, "addresses": 1}})
    content = await exported(exporter, Selection(Query(), reveal=True))
    assert b"nordic.example" not in content.lower()
    assert b"Erna Muster" in content
    assert run(elsewhere, content, "--key", str(KEY), "--key", str(LATER)).returncode == 0


async def test_a_selection_proves_what_is_in_it_and_says_that_it_is_one(
    log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await _log(log)
    content = await exported(exporter, Selection(Query(tenant="globex"), 3, 11))
    seqs = [r["entry"]["seq"] for r in records(content) if r["kind"] == "entry"]
    assert seqs == [8, 6, 4]
    # Checkpoint 1 covers none of them.
    assert [r["row"]["number"] for r in records(content) if r["kind"] == "checkpoint"] == [1, 2, 3]
    done = run(elsewhere, content, "--key", str(KEY), "--key", str(LATER))
    assert done.returncode == 0
    assert "this is a selection" in done.stdout
    late = await exported(exporter, Selection(Query(), 10, 12))
    assert [r["row"]["number"] for r in records(late) if r["kind"] == "checkpoint"] == [3]
    assert run(elsewhere, late, "--key", str(LATER)).returncode == 0
    none = await exported(exporter, Selection(Query(tenant="nobody")))
    assert run(elsewhere, none, "--key", str(LATER)).returncode == 0


async def test_what_cannot_be_exported_is_refused_before_the_first_byte(log: Witnessed, exporter: Exporter) -> None:
    await log.grow_log(2)
    with pytest.raises(CheckpointMissing):
        await exporter.plan(Selection(Query()))
    await log.checkpoint()
    with pytest.raises(Invalid) as refused:
        await exporter.plan(Selection(Query(), 1, 3))
    assert refused.value.errors[0].code == "beyond_checkpoint"
    root = await log.tree.root(2)
    row = checkpoint_row(2, (MOST_ENTRIES + 1, "0" * 64), root, log.before)
    await log.root_db["checkpoints"].insert_one(row)
    with pytest.raises(Invalid) as refused:
        await exporter.plan(Selection(Query()))
    assert refused.value.errors[0].code == "too_many_entries"
    assert f"at most {MOST_ENTRIES} entries" in refused.value.detail


class Endless:
    """A log in which a filter finds an entry at every number."""

    def __init__(self) -> None:
        self.pages = 0

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Record], int | None]:
        assert before is not None
        self.pages += 1
        return [{"seq": before - place} for place in range(1, limit + 1)], before - limit


async def test_a_filter_that_finds_too_much_is_refused_as_soon_as_that_is_known(
    log: Witnessed, repository: AuditRepository, vault: Vault
) -> None:
    await log.grow_log(2)
    row = checkpoint_row(1, (50_000_000, "0" * 64), bytes(32), log.before)
    await log.root_db["checkpoints"].insert_one(row)
    pages = Endless()
    exporter = Exporter(pages, log.store, log.tree, Opener(repository, vault), [], ManualClock())
    with pytest.raises(Invalid) as refused:
        await exporter.plan(Selection(Query(tenant="acme")))
    assert refused.value.errors[0].code == "too_many_entries"
    assert pages.pages == MOST_ENTRIES // 500 + 1


async def test_a_range_of_which_an_entry_cannot_be_read_is_refused(log: Witnessed, exporter: Exporter) -> None:
    await _log(log)
    await log.root_db["entries"].delete_one({"_id": 4})
    with pytest.raises(EntriesMissing, match="only 11 entries of seq 1 to 12"):
        await exporter.plan(Selection(Query()))


async def test_an_entry_altered_in_the_database_is_exported_as_it_is_and_named_outside(
    log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await _log(log)
    await log.root_db["entries"].update_one({"_id": 7}, {"$set": {"outcome": "success"}})
    done = run(elsewhere, await exported(exporter, Selection(Query())), "--key", str(KEY), "--key", str(LATER))
    assert done.stderr == "BAD: line 12 (seq 7): hash is not the SHA-256 of the entry's canonical form\n"
    assert done.returncode == 1


async def test_an_altered_tile_ends_the_stream_without_its_last_line(log: Witnessed, exporter: Exporter) -> None:
    await _log(log)
    row = await log.root_db["tree_tiles"].find_one({"_id": "0/0"})
    assert row is not None
    await log.root_db["tree_tiles"].update_one(
        {"_id": "0/0"}, {"$set": {"hashes": bytes(32) + bytes(row["hashes"])[32:]}}
    )
    written: list[bytes] = []
    with pytest.raises(TreeDamaged, match="tile 0/0 is not what the entries say"):
        written += [part async for part in exporter.lines(await exporter.plan(Selection(Query())))]
    assert b'"kind":"end"' not in b"".join(written)


# Tampering: each takes the records of a good bundle (lines: 1 head, 2-3 keys, 4-6 checkpoints, 7-18 entries 12 to 1,
# 19 end) and returns what an attacker sends; with it, what must be said. Line 11 is entry 8.

Tamper = Callable[[list[Record]], list[Record]]


def _set(place: int, *path: str | int, to: Any) -> Tamper:
    def change(all_: list[Record]) -> list[Record]:
        node: Any = all_[place - 1]
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = to(node[path[-1]]) if callable(to) else to
        return all_

    return change


def _rehash(entry: Record) -> Record:
    content = {name: value for name, value in entry.items() if name != "hash"}
    return {**content, "hash": hashlib.sha256(rfc8785.dumps(content)).hexdigest()}


def _edited(all_: list[Record]) -> list[Record]:
    entry = all_[10]["entry"]
    all_[10]["entry"] = _rehash({**entry, "outcome": "denied"})
    return all_


def _rechained(all_: list[Record]) -> list[Record]:
    """Entry 8 is edited and every later one rehashed: the chain holds again, the tree does not."""
    all_[10]["entry"] = _rehash({**all_[10]["entry"], "outcome": "denied"})
    for place in range(9, 5, -1):
        all_[place]["entry"] = _rehash({**all_[place]["entry"], "prevHash": all_[place + 1]["entry"]["hash"]})
    return all_


def _without(place: int) -> Tamper:
    return lambda all_: all_[: place - 1] + all_[place:]


def _dropped_and_counted(all_: list[Record]) -> list[Record]:
    all_[0]["entries"] = all_[-1]["entries"] = 11
    return _without(11)(all_)


def _twice(all_: list[Record]) -> list[Record]:
    return [*all_[:11], all_[10], *all_[11:]]


def _swapped(all_: list[Record]) -> list[Record]:
    return [*all_[:10], all_[11], all_[10], *all_[12:]]


def _tail_cut(all_: list[Record]) -> list[Record]:
    all_[0]["entries"] = all_[-1]["entries"] = 10
    all_[0]["toSeq"] = 12
    return [*all_[:6], *all_[8:]]


def _first_cut(all_: list[Record]) -> list[Record]:
    all_[0]["entries"] = all_[-1]["entries"] = 11
    return [*all_[:17], all_[18]]


def _checkpoint_removed(all_: list[Record]) -> list[Record]:
    all_[0]["checkpoints"] = all_[-1]["checkpoints"] = 2
    return _without(5)(all_)


def _checkpoint_replayed(all_: list[Record]) -> list[Record]:
    return [*all_[:5], all_[4], *all_[5:]]


def _resigned(all_: list[Record]) -> list[Record]:
    """A stranger signs the last checkpoint with another time, and puts its own key into the bundle."""
    stranger = hashlib.sha256(b"a stranger").digest()
    row = all_[5]["row"]
    forged = checkpoint_row(
        3, (12, row["headHash"]), bytes.fromhex(row["rootHash"]), row["prevCheckpointHash"], stranger
    )
    all_[5] |= {"signatures": forged["signatures"], "note": forged["note"]}
    all_[1]["vkey"] = str(Signer(ORIGIN, stranger).verifier)
    return all_


def _another_history(all_: list[Record]) -> list[Record]:
    """Somebody who has the key signs a tree that does not begin with the earlier one."""
    row = all_[5]["row"]
    root = rfc6962_root([bytes([number]) * 32 for number in range(12)])
    forged = checkpoint_row(3, (12, row["headHash"]), root, row["prevCheckpointHash"], OTHER_SEED)
    all_[5] |= {"signatures": forged["signatures"], "note": forged["note"]}
    all_[5]["row"]["rootHash"] = root.hex()
    return all_


def _note_of_another_log(all_: list[Record]) -> list[Record]:
    root = bytes.fromhex(all_[5]["row"]["rootHash"])
    all_[5]["note"] = signed_note("elsewhere.example", 12, root, [Signer("elsewhere.example", OTHER_SEED)])
    return all_


def _signature_cut(signatures: list[Record]) -> list[Record]:
    return [item for item in signatures if item["sigAlg"] != "Ed25519"]


def _flip_hex(text: str) -> str:
    return ("1" if text[0] == "0" else "0") + text[1:]


def _flip_base64(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def _s_plus_order(signatures: list[Record]) -> list[Record]:
    """A signature whose S has the group's order added: RFC 8032 section 5.1.7 refuses it."""
    raw = base64.b64decode(signatures[1]["signature"])
    order = 2**252 + 27742317777372353535851937790883648493
    more = int.from_bytes(raw[32:], "little") + order
    signatures[1]["signature"] = base64.b64encode(raw[:32] + more.to_bytes(32, "little")).decode()
    return signatures


_LATER = Signer(ORIGIN, OTHER_SEED)

TAMPERED: dict[str, tuple[Tamper, str]] = {
    "a field of an entry": (_set(11, "entry", "outcome", to="denied"), "line 11 (seq 8): hash is not"),
    "a nested field": (_set(11, "entry", "metadata", "sourceSeq", to=9), "line 11 (seq 8): hash is not"),
    "a commitment": (_set(11, "entry", "actorEmail", to={"$commit": "0" * 64}), "line 11 (seq 8): hash is not"),
    "another hash": (_set(11, "entry", "hash", to=_flip_hex), "line 11 (seq 8): hash is not"),
    "an entry, hashed again": (_edited, "line 11 (seq 8): the entry after this one names another prevHash"),
    "everything after it, hashed again": (_rechained, "line 7 (seq 12): the checkpoint at this entry names another"),
    "a member that the format does not have": (
        _set(11, "entry", to=lambda entry: {**entry, "extra": 1}),
        "line 11 (seq 8): missing or unknown members",
    ),
    "a number with a fraction": (_set(11, "entry", "v", to=1.5), "line 11: a number that the format does not have"),
    "an entry left out": (_without(11), "line 11 (seq 7): an entry of the range was left out"),
    "an entry left out, and counted": (_dropped_and_counted, "line 11 (seq 7): an entry of the range was left out"),
    "an entry twice": (_twice, "line 12 (seq 8): seq does not descend"),
    "two entries swapped": (_swapped, "line 11 (seq 7): an entry of the range was left out"),
    "an entry under another number": (_set(11, "entry", "seq", to=9), "line 11 (seq 9): hash is not"),
    "the newest entries cut off": (_tail_cut, "line 7 (seq 10): an entry of the range was left out"),
    "the oldest entry cut off": (_first_cut, "line 18: the range does not reach its first entry"),
    "a proof's hash": (_set(11, "proof", 0, to=_flip_hex), "line 11 (seq 8): the proof does not show the entry"),
    "a proof too short": (_set(11, "proof", to=lambda p: p[:-1]), "line 11 (seq 8): the proof does not show"),
    "a proof too long": (_set(11, "proof", to=lambda p: [*p, "0" * 64]), "line 11 (seq 8): the proof does not show"),
    "a revealed value": (
        _set(18, "revealed", "/actorEmail", "value", to="otto@nordic.example"),
        "line 18 (seq 1): the value revealed at /actorEmail is not",
    ),
    "a revealed salt": (
        _set(18, "revealed", "/actorIp", "salt", to=_flip_hex),
        "line 18 (seq 1): the value revealed at /actorIp is not",
    ),
    "a value where nothing was committed to": (
        _set(18, "revealed", "/source", to={"salt": "0" * 64, "value": "tenant"}),
        "line 18 (seq 1): missing or unknown members",
    ),
    "a checkpoint's time": (_set(5, "row", "at", to="2026-11-22T14:00:00.000Z"), "line 5 (checkpoint 2): the checkp"),
    "a checkpoint's size": (_set(5, "row", "headSeq", to=8), "line 5 (checkpoint 2): the tree does not begin"),
    "a checkpoint's head": (_set(5, "row", "headHash", to="0" * 64), "line 5 (checkpoint 2): the checkpoint is not si"),
    "a checkpoint removed": (_checkpoint_removed, "line 5 (checkpoint 3): checkpoint 3 after checkpoint 1"),
    "a checkpoint replayed": (_checkpoint_replayed, "line 6 (checkpoint 2): checkpoint 2 after checkpoint 2"),
    "a checkpoint signed by a stranger": (_resigned, "line 6 (checkpoint 3): the note is not signed by a known key"),
    "a checkpoint of another history": (_another_history, "line 6 (checkpoint 3): the tree does not begin"),
    "the link between checkpoints": (
        _set(5, "row", "prevCheckpointHash", to="0" * 64),
        "line 5 (checkpoint 2): prevCheckpointHash is not",
    ),
    "a consistency proof": (_set(5, "consistency", 0, to=_flip_hex), "line 5 (checkpoint 2): the tree does not begin"),
    "a signature": (
        _set(5, "signatures", 1, "signature", to=_flip_base64),
        "line 5 (checkpoint 2): the checkpoint is not signed",
    ),
    "a signature that is malleable": (
        _set(5, "signatures", to=_s_plus_order),
        "line 5 (checkpoint 2): the checkpoint is not signed",
    ),
    "a signature removed": (_set(5, "signatures", to=_signature_cut), "line 5 (checkpoint 2): the checkpoint is not s"),
    "the size in a note": (
        _set(5, "note", to=lambda note: note.replace("\n9\n", "\n8\n")),
        f"line 5 (checkpoint 2): the signature of {ORIGIN} under the note",
    ),
    "a note of another log": (_note_of_another_log, "line 6 (checkpoint 3): the note does not say what"),
    "the origin of the bundle": (_set(1, "origin", to="elsewhere.example"), "line 4 (checkpoint 1): the note does not"),
    "the root of the bundle": (_set(1, "root", to="0" * 64), "line 19: the first line names another size or root"),
    "the range of the bundle": (_set(1, "toSeq", to=11), "line 7 (seq 12): seq is outside the range"),
    "the count of the bundle": (_set(1, "entries", to=13), "line 19: there are 12 entries, and the bundle says 13"),
    "no end": (_without(19), "line 19: the bundle is cut off before its end"),
    "another format": (_set(1, "format", to="dezky-audit-bundle/v2"), "line 1: the format is not"),
    "another version": (_set(11, "entry", "v", to=2), "line 11 (seq 8): v is not 1"),
    "a size below nothing": (_set(1, "size", to=-1), "line 1: size is not a number"),
    "a flag that is none": (_set(1, "contiguous", to=None), "line 1: contiguous or origin has another type"),
    "a proof that is no list": (_set(11, "proof", to="0" * 64), "line 11 (seq 8): proof is not a list of hashes"),
    "a signature that is no base64": (
        _set(5, "signatures", 1, "signature", to="!"),
        "line 5 (checkpoint 2): a signature of the checkpoint is not base64",
    ),
    "a signature under another name": (
        _set(5, "signatures", 1, "sigAlg", to="HMAC-SHA256"),
        "line 5 (checkpoint 2): the checkpoint is not signed",
    ),
    "a key under another id": (_set(2, "vkey", to=lambda key: "x" + key), "line 2: the key is not an Ed25519 verifier"),
    "a note without signatures": (
        _set(5, "note", to=lambda note: note.rpartition("\n\n")[0] + "\n"),
        "line 5 (checkpoint 2): the note is not a signed note",
    ),
    "a note with another line": (
        _set(5, "note", to=lambda note: note + "hello\n"),
        "line 5 (checkpoint 2): the note has a line that is no signature",
    ),
    "a note with a second signature that is wrong": (
        _set(5, "note", to=lambda note: note + signed_note(ORIGIN, 8, bytes(32), [_LATER]).rpartition("\n\n")[2]),
        f"line 5 (checkpoint 2): the signature of {ORIGIN} under the note",
    ),
    "a key after the checkpoints": (
        lambda all_: [*all_[:2], *all_[3:6], all_[2], *all_[6:]],
        "line 6: a record of kind key where checkpoint or end or entry belongs",
    ),
    "a key that is none": (_set(2, "vkey", to="x"), "line 2: the key is not a SHA-256"),
}


@pytest.fixture
async def good(log: Witnessed, exporter: Exporter) -> bytes:
    await _log(log)
    return await exported(exporter, Selection(Query(), reveal=True))


async def test_every_tampering_is_named_with_its_line_and_number(good: bytes, elsewhere: Path) -> None:
    assert sealed(records(good)) == good
    keys = [KEY.public, LATER.public]
    wrong = {}
    for what, (tamper, said) in TAMPERED.items():
        (elsewhere / "log.jsonl").write_bytes(sealed(tamper(records(good))))
        with (elsewhere / "log.jsonl").open("rb") as lines, pytest.raises(bundle.Bad) as found:
            bundle.verify(lines, keys)
        if not str(found.value).startswith(said):
            wrong[what] = str(found.value)
    assert wrong == {}
    assert len(TAMPERED) >= 15


async def test_bytes_that_were_damaged_without_care_are_named(good: bytes, elsewhere: Path) -> None:
    lines = good.splitlines(keepends=True)
    spaced = lines[10].replace(b'"kind":', b'"kind": ')
    doubled = lines[10].replace(b'{"entry"', b'{"kind":"entry","entry"')
    for damaged, said in (
        ([*lines[:10], spaced, *lines[11:]], "line 11: the line is not a JSON object in canonical form"),
        ([*lines[:10], doubled, *lines[11:]], "line 11: the line is not a JSON object in canonical form"),
        ([*lines[:10], b"\xff" + lines[10], *lines[11:]], "line 11: the line is not JSON"),
        ([*lines[:10], b"[" * 100_000 + b"\n", *lines[11:]], "line 11: the line is not JSON"),
        ([*lines[:10], b"[" * 80 + b"]" * 80 + b"\n", *lines[11:]], "line 11: nested too deep"),
        ([*lines[:10], b'{"kind":"\\ud800"}\n', *lines[11:]], "line 11: a lone surrogate in a string"),
        (
            [*lines[:10], b'{"kind":"\\u0065ntry"}\n', *lines[11:]],
            "line 11: the line is not a JSON object in canonical",
        ),
        ([*lines[:10], lines[10][:50]], "line 11: the line has no end"),
        ([*lines, lines[10]], "line 20 (seq 8): a record of kind entry where nothing belongs"),
        ([*lines[:1], *lines[2:]], "line 18: the bytes before are not those"),
    ):
        (elsewhere / "log.jsonl").write_bytes(b"".join(damaged))
        with (elsewhere / "log.jsonl").open("rb") as content, pytest.raises(bundle.Bad) as found:
            bundle.verify(content, [KEY.public, LATER.public])
        assert str(found.value).startswith(said)
    done = run(elsewhere, good[:-1], "--key", str(KEY), "--key", str(LATER))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "BAD: line 19: the line has no end: the bundle is cut off\n"


async def test_an_entry_1_that_follows_something_is_none(log: Witnessed, exporter: Exporter, elsewhere: Path) -> None:
    await _log(log)
    changed = records(await exported(exporter, Selection(Query(), 1, 1)))
    place = next(place for place, record in enumerate(changed) if record["kind"] == "entry")
    changed[place]["entry"] = _rehash({**changed[place]["entry"], "prevHash": "1" * 64})
    done = run(elsewhere, sealed(changed), "--key", str(KEY), "--key", str(LATER))
    assert done.stderr == "BAD: line 7 (seq 1): the first entry's prevHash is not 64 zeros\n"
