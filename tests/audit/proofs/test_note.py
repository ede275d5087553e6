"""Signed notes against the published vectors of C2SP and of its reference implementation."""

from __future__ import annotations

import base64

import pytest

from services.audit.proofs.note import Checkpoint, Note, NoteError, Signer, VerifierKey, signed_note
from tests.audit.proofs.conftest import ORIGIN, OTHER_SEED, SEED

pytestmark = pytest.mark.unit

# golang.org/x/mod/sumdb/note, note_test.go: the vector of the implementation that c2sp.org/signed-note specifies.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
# c2sp.org/signed-note and c2sp.org/tlog-checkpoint, the examples in the texts.
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def _peter() -> Signer:
    return Signer("PeterNeumann", base64.b64decode(SKEY.split("+", 4)[4])[1:])


def test_the_published_key_has_its_published_id_and_text() -> None:
    assert str(_peter().verifier) == VKEY
    assert VerifierKey.parse(VKEY).id.hex() == "c74f20a3"


def test_the_published_signature_comes_out_and_verifies() -> None:
    assert _peter().line(TEXT) == LINE
    note = Note.parse(TEXT + "\n" + LINE)
    assert note.text == TEXT
    assert note.verified([VerifierKey.parse(VKEY)]) == [VerifierKey.parse(VKEY)]
    with pytest.raises(NoteError, match="does not verify"):
        Note.parse(TEXT.replace("answer", "Answer") + "\n" + LINE).verified([VerifierKey.parse(VKEY)])


def test_the_text_of_the_specifications_example_ends_at_its_last_blank_line() -> None:
    note = Note.parse(POEM)
    assert note.text.endswith("\n\ned è subito sera.\n")
    assert [(line.name, line.id.hex()) for line in note.signatures] == [("quasimodo.example/salvatore", "367ba04b")]


def test_the_specifications_checkpoint_is_read_and_written_the_same() -> None:
    note = Note.parse(SOFA)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(checkpoint) == note.text


def test_a_note_of_two_signers_verifies_for_who_knows_either_and_for_nobody_else() -> None:
    old, new = Signer(ORIGIN, SEED), Signer(ORIGIN, OTHER_SEED)
    note = Note.parse(signed_note(ORIGIN, 5, bytes(32), [old, new]))
    assert note.text == f"{ORIGIN}\n5\n{'A' * 43}=\n"
    assert note.verified([new.verifier]) == [new.verifier]
    assert note.verified([old.verifier, new.verifier]) == [old.verifier, new.verifier]
    with pytest.raises(NoteError, match="nobody who is known"):
        note.verified([_peter().verifier])
    with pytest.raises(NoteError, match="nobody who is known"):
        note.verified([Signer("another.example", SEED).verifier])


def test_a_line_of_a_known_key_that_does_not_verify_spoils_the_note() -> None:
    old, new = Signer(ORIGIN, SEED), Signer(ORIGIN, OTHER_SEED)
    forged = signed_note(ORIGIN, 6, bytes(32), [new]) + old.line(f"{ORIGIN}\n5\n{'A' * 43}=\n")
    assert Note.parse(forged).verified([new.verifier]) == [new.verifier]
    with pytest.raises(NoteError, match="does not verify"):
        Note.parse(forged).verified([old.verifier, new.verifier])


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        TEXT + "\n",
        TEXT + "\n" + LINE[:-1],
        TEXT + LINE,
        TEXT + "\n" + LINE + "\n",
        TEXT + "\n" + LINE.replace("—", "-"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter Neumann"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter+Neumann"),
        TEXT + "\n— PeterNeumann x08goA==\n",
        TEXT + "\n— PeterNeumann !!!!\n",
        TEXT.replace(" ", "\t") + "\n" + LINE,
        TEXT + "\n" + LINE * 101,
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        Note.parse(note)


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a\n1\n" + "A" * 43 + "=\nextension\n",
        "a\n1\n" + "A" * 42 + "B=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize("place", range(len(VKEY)))
def test_a_verifier_key_with_another_character_is_refused(place: int) -> None:
    # The id binds name and key, so no character can be mistyped unnoticed.
    changed = VKEY[:place] + chr(ord(VKEY[place]) + 1) + VKEY[place + 1 :]
    with pytest.raises(NoteError):
        VerifierKey.parse(changed)


def test_a_signers_seed_is_not_printed() -> None:
    assert repr(Signer(ORIGIN, SEED)) == f"Signer('{ORIGIN}')"
