"""Manifests: what a batch of archived entries is, signed, each naming the one before (docs/audit-archive-format.md)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.audit.canonical import GENESIS, MAX_INTEGER, NotCanonicalError, canonical_json
from services.audit.cold.summary import Summary

VERSION = 1
MOST_BYTES = 1024 * 1024
_PURPOSE = b"dezky-audit/archive-manifest/v1"
_KEY_NAME = b"dezky-audit/key-id/v1"


class ManifestDamagedError(Exception):
    """These bytes are no manifest that this service has signed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a batch is.

    Attributes:
        prev_manifest: SHA-256 of the manifest before as stored; 64 zeros in the first.
        prev_hash: `prevHash` of the first entry. last_hash: `hash` of the last.
        sha256_gzip, sha256_jsonl: of the object as stored, and of its lines.
        archived_at: RFC 3339 in UTC with milliseconds.
    """

    start_seq: int
    end_seq: int
    event_count: int
    prev_manifest: str
    prev_hash: str
    last_hash: str
    jsonl_key: str
    sha256_gzip: str
    sha256_jsonl: str
    bytes_compressed: int
    bytes_uncompressed: int
    archived_at: str
    summary: Summary

    def members(self) -> dict[str, Any]:
        """The members that are signed, but for `keyId`."""
        return {
            "archivedAt": self.archived_at,
            "bytesCompressed": self.bytes_compressed,
            "bytesUncompressed": self.bytes_uncompressed,
            "endSeq": self.end_seq,
            "eventCount": self.event_count,
            "jsonlKey": self.jsonl_key,
            "lastHash": self.last_hash,
            "prevHash": self.prev_hash,
            "prevManifestSha256": self.prev_manifest,
            "sha256Gzip": self.sha256_gzip,
            "sha256Jsonl": self.sha256_jsonl,
            "startSeq": self.start_seq,
            "summary": self.summary.document(),
            "v": VERSION,
        }

    def follows(self, place: Place) -> bool:
        """Whether this may be the manifest of the batch at `place`."""
        return (self.start_seq, self.prev_hash, self.prev_manifest) == (
            place.start_seq,
            place.prev_hash,
            place.manifest,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next batch starts: its first number, the hash before it, and SHA-256 of the manifest before it."""

    start_seq: int = 1
    prev_hash: str = GENESIS
    manifest: str = GENESIS

    @classmethod
    def after(cls, manifest: Manifest, sha256: str) -> Place:
        """The place behind a batch."""
        return cls(manifest.end_seq + 1, manifest.last_hash, sha256)


class ManifestSigner:
    """HMAC-SHA-256 under keys derived from those given: signs with the first, believes all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        derived = [hmac.digest(key, _PURPOSE, hashlib.sha256) for key in keys]
        self._keys = {_key_id(key): key for key in derived}
        self._own = _key_id(derived[0])

    def signed(self, manifest: Manifest) -> bytes:
        """The manifest as it is stored."""
        members = manifest.members() | {"keyId": self._own}
        return canonical_json(members | {"signature": self._signature(self._own, members)})

    def opened(self, stored: bytes) -> Manifest:
        """The manifest in these bytes. Raises ManifestDamagedError unless a known key signed exactly them."""
        try:
            members: dict[str, Any] = orjson.loads(stored)
            if canonical_json(members) != stored:
                raise ManifestDamagedError("not in canonical form")
            signature, key_id = str(members.pop("signature")), str(members["keyId"])
            if key_id not in self._keys:
                raise ManifestDamagedError(f"signed with an unknown key, {key_id}")
            if not hmac.compare_digest(signature.encode(), self._signature(key_id, members).encode()):
                raise ManifestDamagedError("the signature does not match")
            manifest = _manifest(members)
        except (ValueError, KeyError, TypeError, AttributeError, NotCanonicalError) as error:
            raise ManifestDamagedError(f"not readable: {error}") from error
        if manifest.members() | {"keyId": key_id} != members or not _plausible(manifest):
            raise ManifestDamagedError("members that no batch has")
        return manifest

    def _signature(self, key_id: str, members: dict[str, Any]) -> str:
        return base64.b64encode(hmac.digest(self._keys[key_id], canonical_json(members), hashlib.sha256)).decode()


def _key_id(derived: bytes) -> str:
    return "hmac-" + hashlib.sha256(_KEY_NAME + derived).hexdigest()[:16]


def _manifest(members: dict[str, Any]) -> Manifest:
    return Manifest(
        start_seq=members["startSeq"],
        end_seq=members["endSeq"],
        event_count=members["eventCount"],
        prev_manifest=members["prevManifestSha256"],
        prev_hash=members["prevHash"],
        last_hash=members["lastHash"],
        jsonl_key=members["jsonlKey"],
        sha256_gzip=members["sha256Gzip"],
        sha256_jsonl=members["sha256Jsonl"],
        bytes_compressed=members["bytesCompressed"],
        bytes_uncompressed=members["bytesUncompressed"],
        archived_at=members["archivedAt"],
        summary=Summary.read(members["summary"]),
    )


def _plausible(manifest: Manifest) -> bool:
    return 1 <= manifest.start_seq <= manifest.end_seq <= MAX_INTEGER and (
        manifest.event_count == manifest.end_seq - manifest.start_seq + 1
    )
