"""Bundles over both tiers verify outside like those of one, and archiving meanwhile changes nothing in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.audit.cold.models import ArchiveDamaged
from services.audit.models import Query
from services.audit.personal import Vault
from services.audit.proofs.export import Exporter, Opener, Selection
from services.audit.proofs.note import Signer
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.tree import Tree
from shared.mongo import Database, Mongo
from tests.audit.cold.conftest import Chain, Rig
from tests.audit.proofs.conftest import ORIGIN, SEED, Witnessed, checkpoint_row, exported, rfc6962_root
from tests.audit.proofs.test_bundle import KEY, elsewhere, run

__all__ = ["elsewhere"]


@pytest.fixture
def log(audit_mongo: Mongo, chain: Chain, root_db: Database) -> Witnessed:
    proofs = ProofRepository(audit_mongo.db)
    return Witnessed(chain, proofs, Tree(proofs), root_db)


@pytest.fixture
def exporter(rig: Rig, log: Witnessed, vault: Vault) -> Exporter:
    keys = [Signer(ORIGIN, SEED).verifier]
    return Exporter(rig.pages, log.store, log.tree, Opener(rig.repository, vault), keys, rig.clock)


async def hashes(root_db: Database) -> list[str]:
    return [row["hash"] async for row in root_db["entries"].find({}, {"hash": 1}).sort("_id", 1)]


async def archived_and_hot(rig: Rig, log: Witnessed) -> None:
    """Sixteen entries under two checkpoints: 1 to 10 in three batches, 11 to 16 in MongoDB."""
    await log.grow_log(10)
    await log.checkpoint()
    leaves = await hashes(log.root_db)
    await rig.run()
    await log.grow_log(6)
    leaves += await hashes(log.root_db)
    assert (len(leaves), await log.root_db["archives"].count_documents({"tier": "cold"})) == (16, 3)
    root = rfc6962_root([bytes.fromhex(leaf) for leaf in leaves])
    assert await log.tree.grow(16) == root
    await log.root_db["checkpoints"].insert_one(checkpoint_row(2, (16, leaves[-1]), root, log.before))


def seqs(content: bytes) -> list[int]:
    records = [json.loads(line) for line in content.splitlines()]
    return [record["entry"]["seq"] for record in records if record["kind"] == "entry"]


SELECTIONS = [
    (Selection(Query()), list(range(16, 0, -1))),
    (Selection(Query(), 3, 13, reveal=True), list(range(13, 2, -1))),
    (Selection(Query(), 6, 7), [7, 6]),
    (Selection(Query(action="tenant.suspended"), 6), [15, 10]),
    (Selection(Query(action="tenant.suspended"), 1, 9), [5]),
]


async def test_bundles_over_both_tiers_verify_outside(
    rig: Rig, log: Witnessed, exporter: Exporter, elsewhere: Path
) -> None:
    await archived_and_hot(rig, log)
    for selection, expected in SELECTIONS:
        content = await exported(exporter, selection)
        assert seqs(content) == expected
        done = run(elsewhere, content, "--key", str(KEY))
        assert (done.returncode, done.stderr) == (0, "")
        assert f"ok: {len(expected)} entries" in done.stdout


async def test_what_is_archived_while_a_bundle_is_written_is_in_it_as_it_was(
    rig: Rig, log: Witnessed, exporter: Exporter
) -> None:
    await log.grow_log(10)
    await log.checkpoint()
    before = await exported(exporter, Selection(Query()))
    plan = await exporter.plan(Selection(Query()))
    await rig.run()
    assert await log.root_db["entries"].count_documents({}) == 0
    after = b"".join([part async for part in exporter.lines(plan)])
    assert after.splitlines()[1:-1] == before.splitlines()[1:-1]  # the first line says when it was made


async def test_a_range_whose_archive_is_damaged_is_refused_before_the_first_byte(
    rig: Rig, log: Witnessed, exporter: Exporter
) -> None:
    await archived_and_hot(rig, log)
    row = await log.root_db["archives"].find_one({"_id": 5})
    assert row is not None
    del rig.s3.objects[row["jsonlKey"]]
    with pytest.raises(ArchiveDamaged, match="from 5 on"):
        await exporter.plan(Selection(Query()))
    assert (await exporter.plan(Selection(Query(), 9))).count == 8  # does not open what it does not need
