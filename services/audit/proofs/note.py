"""C2SP signed notes (c2sp.org/signed-note) with Ed25519, and the body of a C2SP tlog-checkpoint.

A note is text that ends in a newline, a blank line, and one line for each signature. A checkpoint's text is three
lines: the origin of the log, the size of its tree, the root in base64; there are no extension lines here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.audit.proofs.merkle import HASH_SIZE

# c2sp.org/signed-note: signature type of Ed25519 over the text of the note.
_ED25519 = b"\x01"
_ID_SIZE = 4
# The specification asks for 16 at least.
MOST_SIGNATURES = 100
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<blob>[A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(ValueError):
    """The note cannot be read, or nobody who is trusted has signed it."""


def key_id(name: str, public: bytes) -> bytes:
    """The first 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_SIZE]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name; its text form is `name+id+base64(0x01 ‖ key)`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != HASH_SIZE:
            raise NoteError("an Ed25519 public key has 32 bytes")

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises NoteError unless the id in the text is that of name and key."""
        name, _, rest = text.partition("+")
        written, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if raw[:1] != _ED25519:
            raise NoteError("the key is not of the type Ed25519")
        key = cls(name, raw[1:])
        if key.id.hex() != written:
            raise NoteError(f"the id {written} is not that of the key of {name}")
        return key

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's of `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under a name; `seed` is the 32-byte private key of RFC 8032."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> VerifierKey:
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return VerifierKey(self.name, public.public_bytes_raw())

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    def line(self, text: str) -> str:
        """The signature line under `text`, with its newline."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"— {self.name} {base64.b64encode(self.verifier.id + signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line, not verified."""

    name: str
    id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it reads: nothing in it is to be believed before `verified`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, note: str) -> Note:
        """Raises NoteError for what is no note."""
        if any(character < " " and character != "\n" for character in note):
            raise NoteError("a note has no control characters but newlines")
        text, blank, lines = note.rpartition("\n\n")
        if not blank or not text or not lines.endswith("\n"):
            raise NoteError("a note is text, a blank line and signatures")
        signatures = lines[:-1].split("\n")
        if len(signatures) > MOST_SIGNATURES:
            raise NoteError(f"a note has at most {MOST_SIGNATURES} signatures")
        return cls(text + "\n", tuple(_signature(line) for line in signatures))

    def verified(self, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
        """Those of `keys` that have signed; lines of unknown keys are ignored.

        Raises NoteError if none has, or if the signature of a known key does not verify.
        """
        known = {(key.name, key.id): key for key in keys}
        found: list[VerifierKey] = []
        for line in self.signatures:
            key = known.get((line.name, line.id))
            if key is None or key in found:
                continue
            if not key.verifies(line.signature, self.text.encode()):
                raise NoteError(f"the signature of {line.name}+{line.id.hex()} does not verify")
            found.append(key)
        if not found:
            raise NoteError("nobody who is known has signed this note")
        return found


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The body of a C2SP tlog-checkpoint."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or any(character < " " for character in self.origin):
            raise NoteError("an origin is one line")
        if self.size < 0 or len(self.root) != HASH_SIZE:
            raise NoteError("a checkpoint has a size and a root of 32 bytes")

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises NoteError unless the text is exactly the three lines."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not _SIZE.fullmatch(lines[1]):
            raise NoteError("a checkpoint is an origin, a size and a root, and nothing else")
        return cls(lines[0], int(lines[1]), _decoded(lines[2]))


def signed_note(origin: str, size: int, root: bytes, signers: Sequence[Signer]) -> str:
    """The checkpoint of a tree as a note, signed by all of `signers` in their order. Raises NoteError without any."""
    if not signers:
        raise NoteError("a note needs a signature")
    text = str(Checkpoint(origin, size, root))
    return text + "\n" + "".join(signer.line(text) for signer in signers)


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteError("the name of a key is not empty and has neither spaces nor a plus")


def _signature(line: str) -> NoteSignature:
    match = _SIGNATURE.fullmatch(line)
    blob = _decoded(match["blob"]) if match else b""
    if match is None or len(blob) <= _ID_SIZE:
        raise NoteError("a signature line is a dash, a name and base64")
    return NoteSignature(match["name"], blob[:_ID_SIZE], blob[_ID_SIZE:])


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("not base64") from error
    if base64.b64encode(raw).decode() != text:
        # Unused bits that are set would give one key several texts.
        raise NoteError("not canonical base64")
    return raw
