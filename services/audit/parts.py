"""What the service and its command line are both made of: the signed log, and its verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from services.audit.checkpoints.keys import CheckpointKeys, Ed25519Key, HmacKey, Tenure
from services.audit.checkpoints.repository import CheckpointRepository
from services.audit.checkpoints.witness import Witness
from services.audit.cold.batches import Batches
from services.audit.cold.object_store import AbsentStore, ObjectStore
from services.audit.cold.repository import ColdRepository
from services.audit.cold.tiers import TieredLog
from services.audit.cold.wiring import signer_of, store_of
from services.audit.personal import Vault
from services.audit.proofs.note import Signer, VerifierKey, signed_note
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings, secret
from services.audit.verifications.places import Seals
from services.audit.verifications.service import Anchors, Verifier
from services.audit.verifications.sources import Checkpoints
from services.audit.verifier import Log
from shared.clock import Clock
from shared.mongo import Mongo
from shared.settings import decode_key


@dataclass(frozen=True)
class Stores:
    """The buckets of the object store.

    Attributes:
        archives: refuses everything where no object store is configured.
        witness: None there.
    """

    archives: ObjectStore | AbsentStore
    witness: ObjectStore | None

    async def close(self) -> None:
        """Close the connections of both."""
        await self.archives.close()
        if self.witness is not None:
            await self.witness.close()


def stores_of(settings: AuditSettings) -> Stores:
    """Both buckets, as far as they are configured; connects to nothing."""
    witness = store_of(settings, settings.witness_bucket)
    return Stores(store_of(settings, settings.cold_bucket), witness if isinstance(witness, ObjectStore) else None)


@dataclass(frozen=True)
class Signed:
    """The log in MongoDB and what vouches for it.

    Attributes:
        log: the entries of every tier.
        witness: None where none is configured.
    """

    entries: AuditRepository
    log: Log
    checkpoints: CheckpointRepository
    keys: CheckpointKeys
    seals: Seals
    vault: Vault
    witness: Witness | None

    def verifier(self, *, trust_mongo: bool = True) -> Verifier:
        """Without trust in MongoDB, the witness alone says what was signed."""
        stored = self.checkpoints if trust_mongo else None
        return Verifier(
            self.log,
            self.entries,
            lambda: Checkpoints(self.keys, stored, self.witness),
            self.vault,
            Anchors(self.checkpoints, self.seals),
        )


def keys_of(settings: AuditSettings) -> CheckpointKeys:
    """Every key, of the past and of now, with the checkpoints that it signs."""
    tenures = [
        Tenure(
            Ed25519Key(decode_key(key.public_key or ""), None if key.seed is None else secret(key.seed)),
            key.first,
            key.last,
        )
        for key in settings.checkpoint_keys
    ]
    first = 1
    for retired in sorted(settings.signing_history, key=lambda key: key.last):
        tenures.append(Tenure(HmacKey(secret(retired.key)), first, retired.last))
        first = retired.last + 1
    return CheckpointKeys([*tenures, Tenure(HmacKey(secret(settings.signing_key)), first)])


def noting(settings: AuditSettings) -> Callable[[int, int, bytes], str]:
    """What makes the C2SP note of a checkpoint from its number, the size of the tree and its root."""
    signers = [
        (Signer(settings.log_origin, secret(key.seed)), key.first, key.last)
        for key in settings.checkpoint_keys
        if key.seed is not None
    ]

    def note(number: int, size: int, root: bytes) -> str:
        held = [signer for signer, first, last in signers if first <= number and (last is None or number <= last)]
        return signed_note(settings.log_origin, size, root, held)

    return note


def public_keys(settings: AuditSettings) -> list[VerifierKey]:
    """The public halves of all keys of checkpoints, retired ones too, under the name of the log."""
    return [
        VerifierKey(settings.log_origin, tenure.key.public)
        for tenure in keys_of(settings).tenures
        if isinstance(tenure.key, Ed25519Key)
    ]


def signed_log(mongo: Mongo, settings: AuditSettings, stores: Stores, clock: Clock) -> Signed:
    """Build the parts; connects to nothing."""
    entries = AuditRepository(mongo.db)
    archives = Batches(stores.archives, signer_of(settings))
    retention = timedelta(days=settings.witness_retention_days)
    return Signed(
        entries=entries,
        log=TieredLog(entries, ColdRepository(mongo.db), archives),
        checkpoints=CheckpointRepository(mongo.db),
        keys=keys_of(settings),
        seals=Seals(secret(settings.signing_key)),
        vault=Vault(secret(settings.personal_key)),
        witness=None if stores.witness is None else Witness(stores.witness, retention, clock),
    )
