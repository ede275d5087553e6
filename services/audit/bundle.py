"""Verify a bundle of the audit log offline: `python bundle.py FILE [--key HEX_OR_VKEY …]`.

One file on the standard library alone, to be copied anywhere; it shares no code with the service that made the bundle.
The format is docs/audit-bundle-format.md. Reads a line at a time; `-` is standard input.

Exit codes: 0 everything holds; 1 the first record that does not hold is named; 2 file or argument cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = "dezky-audit-bundle/v1"
GENESIS = "0" * 64
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 66  # an entry of 64 levels, in a member of a line
MAX_LINE = 64 * 1024 * 1024
CANONICAL = frozenset(
    (
        *("v", "seq", "id", "at", "actorType", "actorId", "actorEmail", "actorIp", "surface", "action", "outcome"),
        *("resourceType", "resourceId", "resourceName", "tenantSlug", "partnerSlug", "source", "metadata", "prevHash"),
    )
)
SIGNED = frozenset(("at", "headHash", "headSeq", "number", "prevCheckpointHash", "reason", "rootHash"))
PERSONAL = ("actorEmail", "actorIp", "resourceName", "metadata")


class Bad(Exception):
    """A record that does not hold, and why."""


class Unreadable(Exception):
    """There is nothing that could be verified."""


# RFC 8032 section 5.1: Ed25519. Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _multiply(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _decompress(encoded: bytes) -> Point | None:
    """Section 5.1.3; None for what encodes no point."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = _decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Section 5.1.7, with the equation [S]B = R + [k]A."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _decompress(public), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or BASE is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = _multiply(s, BASE), _add(r, _multiply(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# RFC 8785, for values without floats.


def canonical(value: Any, depth: int = 0) -> str:
    """The canonical form as text. Raises Bad for what has none in the format."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) is str:
        return json.dumps(value, ensure_ascii=False)
    if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return str(value)
    if depth >= MAX_DEPTH:
        raise Bad("nested too deep")
    if type(value) is list:
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if type(value) is dict:
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name], depth + 1)}" for name in names) + "}"
    raise Bad("a number that the format does not have")


def canonical_bytes(value: Any) -> bytes:
    try:
        return canonical(value).encode()
    except UnicodeEncodeError as error:
        raise Bad("a lone surrogate in a string") from error


def parsed(line: bytes) -> dict[str, Any]:
    """The record of a line, which must be in canonical form byte for byte."""
    try:
        record = json.loads(line.decode("utf-8"))
        same = canonical_bytes(record) == line
    except (ValueError, RecursionError) as error:
        raise Bad("the line is not JSON") from error
    if not same or type(record) is not dict:
        raise Bad("the line is not a JSON object in canonical form")
    return record


def exactly(record: Any, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """`record`, if it is an object of these members."""
    wanted = set(required)
    if type(record) is not dict or not wanted <= record.keys() <= wanted | set(optional):
        raise Bad("missing or unknown members")
    return record


def number_in(record: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = record[name]
    if type(value) is not int or value < least:
        raise Bad(f"{name} is not a number of {least} or more")
    return value


def digest_in(value: Any, what: str) -> bytes:
    """32 bytes written as 64 lower-case hexadecimal digits."""
    if type(value) is not str or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise Bad(f"{what} is not a SHA-256 in hexadecimal")
    return bytes.fromhex(value)


def digests_in(values: Any, what: str) -> list[bytes]:
    if type(values) is not list or len(values) > 64:
        raise Bad(f"{what} is not a list of hashes")
    return [digest_in(value, what) for value in values]


def base64_in(text: Any, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise Bad(f"{what} is not base64") from error


# RFC 6962 section 2.1, verified as in RFC 9162 sections 2.1.3.2 and 2.1.4.2.


def leaf(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def climb(fn: int, sn: int, start: bytes, steps: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of the tree that ends at node `fn` and of the whole one; None for a proof of another length."""
    old = new = start
    for step in steps:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            old, new = pair(step, old), pair(step, new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = pair(new, step)
        fn, sn = fn >> 1, sn >> 1
    return (old, new) if sn == 0 else None


def includes(index: int, size: int, hashed: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    roots = climb(index, size - 1, hashed, proof)
    return roots is not None and roots[1] == root


def extends(first: int, second: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    if first == second:
        return not proof and roots[0] == roots[1]
    path = list(proof) if first & (first - 1) else [roots[0], *proof]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return bool(path) and climb(fn, sn, path[0], path[1:]) == roots


# C2SP signed-note with Ed25519, and keys.


def key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]


def key_of(text: str) -> bytes:
    """The public key of 64 hexadecimal digits or of a C2SP verifier key. Raises Bad."""
    if "+" not in text:
        return digest_in(text.lower(), "the key")
    name, _, rest = text.partition("+")
    written, _, encoded = rest.partition("+")
    raw = base64_in(encoded, "the key")
    if len(raw) != 33 or raw[:1] != b"\x01" or key_id(name, raw[1:]).hex() != written:
        raise Bad("the key is not an Ed25519 verifier key, or its id is not its own")
    return raw[1:]


def note_signer(note: str, keys: Iterable[bytes]) -> tuple[str, bytes]:
    """The text of a note and a key that has signed it. Raises Bad if none of `keys` has, or if one's line is wrong."""
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or any(mark < " " and mark != "\n" for mark in note):
        raise Bad("the note is not a signed note")
    text, known, found = text + "\n", list(keys), None
    for line in lines[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—" or not name:
            raise Bad("the note has a line that is no signature")
        blob = base64_in(encoded, "a signature of the note")
        for key in known:
            if blob[:4] == key_id(name, key):
                if not ed25519_verifies(key, text.encode(), blob[4:]):
                    raise Bad(f"the signature of {name} under the note does not verify")
                found = found or key
    if found is None:
        raise Bad("the note is not signed by a known key")
    return text, found


def commitments(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """RFC 6901 pointers of the commitments in a value, and what they say."""
    if type(value) is dict and "$commit" in value:
        yield path, value["$commit"]
    elif type(value) in (dict, list):
        for name, item in value.items() if type(value) is dict else enumerate(value):
            yield from commitments(item, f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}")


class Verification:
    """What has been seen of a bundle; `take` one record after the other, then ask `finished`."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.own_keys = not keys
        self.keys = list(keys)
        self.used: set[bytes] = set()
        self.head: dict[str, Any] = {}
        self.checkpoints: list[tuple[int, bytes]] = []
        self.entries = self.opened = 0
        self.finished = False
        self._sha = hashlib.sha256()
        self._heads: dict[int, str] = {}
        self._previous: dict[str, Any] = {}
        self._above: dict[str, Any] = {}
        self._expect = {"bundle"}

    def take(self, line: bytes, record: dict[str, Any]) -> None:
        """Check the next record. Raises Bad."""
        kind = record.get("kind")
        steps: dict[Any, tuple[Callable[[dict[str, Any]], None], set[str]]] = {
            "bundle": (self._bundle, {"key", "checkpoint"}),
            "key": (self._key, {"key", "checkpoint"}),
            "checkpoint": (self._checkpoint, {"checkpoint", "entry", "end"}),
            "entry": (self._entry, {"entry", "end"}),
            "end": (self._end, set()),
        }
        if type(kind) is not str or kind not in self._expect:
            raise Bad(f"a record of kind {kind} where {' or '.join(sorted(self._expect)) or 'nothing'} belongs")
        check, self._expect = steps[kind]
        check(record)
        self._sha.update(line + b"\n")

    def _bundle(self, record: dict[str, Any]) -> None:
        names = ("kind", "format", "note", "made", "origin", "query", "contiguous", "fromSeq", "toSeq")
        exactly(record, (*names, "entries", "checkpoints", "size", "root"))
        if record["format"] != FORMAT:
            raise Bad(f"the format is not {FORMAT}")
        for name in ("fromSeq", "toSeq", "entries", "size"):
            number_in(record, name)
        number_in(record, "checkpoints", 1)
        digest_in(record["root"], "root")
        if type(record["contiguous"]) is not bool or type(record["origin"]) is not str:
            raise Bad("contiguous or origin has another type")
        self.head = record

    def _key(self, record: dict[str, Any]) -> None:
        public = key_of(str(exactly(record, ("kind", "vkey"))["vkey"]))
        if self.own_keys:
            self.keys.append(public)

    def _checkpoint(self, record: dict[str, Any]) -> None:
        row = exactly(exactly(record, ("kind", "row", "signatures", "note", "consistency"))["row"], SIGNED)
        number, size, root = (
            number_in(row, "number", 1),
            number_in(row, "headSeq", 1),
            digest_in(row["rootHash"], "root"),
        )
        before = self._previous
        if before and number != before["number"] + 1:
            raise Bad(f"checkpoint {number} after checkpoint {before['number']}")
        proof = digests_in(record["consistency"], "consistency")
        if before and not (
            self.checkpoints[-1][0] <= size
            and extends(self.checkpoints[-1][0], size, (self.checkpoints[-1][1], root), proof)
        ):
            raise Bad("the tree does not begin with that of the checkpoint before")
        if not before and number > 1:
            digest_in(row["prevCheckpointHash"], "prevCheckpointHash")
        elif row["prevCheckpointHash"] != (hashlib.sha256(canonical_bytes(before)).hexdigest() if before else GENESIS):
            raise Bad("prevCheckpointHash is not the hash of the checkpoint before")
        text, key = note_signer(str(record["note"]), self.keys)
        if text != f"{self.head['origin']}\n{size}\n{base64.b64encode(root).decode()}\n":
            raise Bad("the note does not say what the checkpoint says")
        self.used |= {key, self._signer_of(canonical_bytes(row), record["signatures"])}
        self.checkpoints.append((size, root))
        self._heads[size] = str(row["headHash"])
        self._previous = row

    def _signer_of(self, message: bytes, signatures: Any) -> bytes:
        for item in signatures if type(signatures) is list else ():
            signature = exactly(item, ("sigAlg", "keyId", "signature"))
            raw = base64_in(signature["signature"], "a signature of the checkpoint")
            if signature["sigAlg"] == "Ed25519":
                for key in self.keys:
                    if ed25519_verifies(key, message, raw):
                        return key
        raise Bad("the checkpoint is not signed by a known key")

    def _entry(self, record: dict[str, Any]) -> None:
        exactly(record, ("kind", "entry", "proof"), ("revealed",))
        entry = exactly(record["entry"], CANONICAL | {"hash"})
        seq, hashed = number_in(entry, "seq", 1), digest_in(entry["hash"], "hash")
        if entry["v"] != 1 or type(entry["v"]) is not int:
            raise Bad("v is not 1")
        content = canonical_bytes({name: entry[name] for name in CANONICAL})
        if hashlib.sha256(content).digest() != hashed:
            raise Bad("hash is not the SHA-256 of the entry's canonical form")
        self._place(entry, seq)
        if self._heads.get(seq, entry["hash"]) != entry["hash"]:
            raise Bad("the checkpoint at this entry names another hash")
        size, root = self.checkpoints[-1]
        if not includes(seq - 1, size, leaf(hashed), digests_in(record["proof"], "proof"), root):
            raise Bad("the proof does not show the entry in the newest checkpoint's tree")
        self._reveal(entry, record.get("revealed", {}))
        self._above = entry
        self.entries += 1

    def _place(self, entry: dict[str, Any], seq: int) -> None:
        above = self._above
        if not self.head["fromSeq"] <= seq <= self.head["toSeq"]:
            raise Bad("seq is outside the range of the bundle")
        if above and seq >= above["seq"]:
            raise Bad("seq does not descend")
        if self.head["contiguous"] and seq != (above["seq"] - 1 if above else self.head["toSeq"]):
            raise Bad("an entry of the range was left out before this one")
        if above and seq == above["seq"] - 1 and above["prevHash"] != entry["hash"]:
            raise Bad("the entry after this one names another prevHash")
        if seq == 1 and entry["prevHash"] != GENESIS:
            raise Bad("the first entry's prevHash is not 64 zeros")

    def _reveal(self, entry: dict[str, Any], revealed: Any) -> None:
        hidden = dict(commitments({name: entry[name] for name in PERSONAL}))
        for pointer, item in exactly(revealed, (), hidden).items():
            salt = digest_in(exactly(item, ("salt", "value"))["salt"], "the salt")
            if hmac.digest(salt, canonical_bytes(item["value"]), "sha256").hex() != hidden[pointer]:
                raise Bad(f"the value revealed at {pointer} is not the one that was committed to")
            self.opened += 1

    def _end(self, record: dict[str, Any]) -> None:
        exactly(record, ("kind", "entries", "checkpoints", "sha256"))
        counts = {"entries": self.entries, "checkpoints": len(self.checkpoints)}
        for name, count in counts.items():
            if not record[name] == self.head[name] == count:
                raise Bad(f"there are {count} {name}, and the bundle says {self.head[name]}")
        lowest = self._above["seq"] if self._above else self.head["toSeq"] + 1
        if self.head["contiguous"] and lowest != self.head["fromSeq"]:
            raise Bad("the range does not reach its first entry")
        size, root = self.checkpoints[-1]
        if (self.head["size"], self.head["root"]) != (size, root.hex()):
            raise Bad("the first line names another size or root than the newest checkpoint")
        if record["sha256"] != self._sha.hexdigest():
            raise Bad("the bytes before are not those that were written")
        self.finished = True


def verify(lines: BinaryIO, keys: Sequence[bytes]) -> Verification:
    """Verify a stream. Raises Bad, with line and seq in its text, at the first record that does not hold."""
    seen, number = Verification(keys), 0
    while line := lines.readline(MAX_LINE):
        number += 1
        record: dict[str, Any] = {}
        try:
            if not line.endswith(b"\n"):
                raise Bad("the line has no end: the bundle is cut off")
            record = parsed(line[:-1])
            seen.take(line[:-1], record)
        except (Bad, RecursionError) as error:
            if number == 1 and record.get("kind") != "bundle":
                raise Unreadable("this is no bundle of the audit log") from error
            raise Bad(f"line {number}{_seq(record)}: {error}") from error
    if not seen.finished:
        raise Bad(f"line {number + 1}: the bundle is cut off before its end") if number else Unreadable("it is empty")
    return seen


def _seq(record: dict[str, Any]) -> str:
    entry, row = record.get("entry"), record.get("row")
    if type(entry) is dict and type(entry.get("seq")) is int:
        return f" (seq {entry['seq']})"
    return f" (checkpoint {row['number']})" if type(row) is dict and type(row.get("number")) is int else ""


def _report(seen: Verification) -> str:
    head = seen.head
    said = [
        f"ok: {seen.entries} entries in seq {head['fromSeq']} to {head['toSeq']}, {seen.opened} values revealed, "
        f"{len(seen.checkpoints)} checkpoints of {head['origin']}, the newest over {head['size']} entries",
        *(f"signed by {key.hex()} ({'from the bundle' if seen.own_keys else 'given'})" for key in sorted(seen.used)),
    ]
    if not head["contiguous"]:
        said.append("note: this is a selection; that nothing was left out of it cannot be shown")
    if seen.own_keys:
        said.append("WARNING: trust is not established: the keys are the bundle's own. Give yours with --key")
    return "\n".join(said) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bundle.py", description="Verify a bundle of the audit log offline.")
    parser.add_argument("file", metavar="FILE", help="the bundle; - for standard input")
    parser.add_argument(
        "--key", action="append", default=[], help="a public key that you trust: hex, or a verifier key"
    )
    given = parser.parse_args(arguments)
    try:
        keys = [_trusted(text) for text in given.key]
        with nullcontext(sys.stdin.buffer) if given.file == "-" else Path(given.file).open("rb") as lines:
            sys.stdout.write(_report(verify(lines, keys)))
    except Bad as error:
        sys.stderr.write(f"BAD: {error}\n")
        return 1
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"cannot verify: {error}\n")
        return 2
    return 0


def _trusted(text: str) -> bytes:
    try:
        return key_of(text)
    except Bad as error:
        raise Unreadable(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
