"""The product's verifier and the second one, over the same log."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.checkpoints.keys import CheckpointKeys
from services.audit.personal import Vault
from services.audit.verifications.sources import Checkpoints
from services.audit.verifications.verification import Verification
from tests.audit.events import PERSONAL_KEY
from tests.audit.memory import SECRET, SEED, keys, witness_in
from tests.audit.operators import World
from tests.audit.second_verifier import Break, Evidence, Key, verify

VAULT = Vault(PERSONAL_KEY)
SERVICE_KEYS = (
    Key("HMAC-SHA-256", SECRET),
    Key("Ed25519", Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()),
)
Place = tuple[str, int | None, int | None] | None


def evidence_of(world: World, keys: Sequence[Key] = SERVICE_KEYS) -> Evidence:
    """What the second verifier is given of a world."""
    head = world.log.chain_head
    return Evidence(
        entries=[world.log.entries[number] for number in sorted(world.log.entries)],
        head=None if head is None else {"_id": "chain", "seq": head.seq, "hash": head.hash},
        checkpoints=[world.stored.rows_by_id[number] for number in sorted(world.stored.rows_by_id)],
        witness={int(key[12:24]): body for key, body in world.bucket.objects.items()},
        keys=keys,
        person_keys=list(world.log.keys.values()),
        personal=PERSONAL_KEY,
    )


async def both(world: World, service: CheckpointKeys | None = None, second: Sequence[Key] = SERVICE_KEYS) -> Place:
    """What both verifiers say: the kind, the place and the checkpoint. They must say the same."""
    verification = Verification(
        world.log, Checkpoints(service or keys(), world.stored, witness_in(world.bucket)), VAULT
    )
    first, other = (await verification.run()).broken, verify(evidence_of(world, second))
    place = None if first is None else (first.kind, first.seq, first.checkpoint)
    assert place == _place(other), f"the product says {first}, the document {other!r}"
    return place


def _place(found: Break | None) -> Place:
    if found is None:
        return None
    return found.kind, found.seq if found.head_seq is None else found.head_seq, found.checkpoint
