"""The folder of a backup: under a draft's name until it is whole, and believed only where every byte fits."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from infrastructure.backup.errors import Refused
from infrastructure.backup.manifest import Manifest, StoredFile

MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"
_DRAFT = ".partial"
_READ_BYTES = 1024 * 1024


class Writing:
    """A new private file that is hashed while it is written."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self._length = 0

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._digest.update(piece)
        self._length += len(piece)

    @property
    def stored(self) -> StoredFile:
        """What has been written so far."""
        return StoredFile(path=self._path, length=self._length, sha256=self._digest.hexdigest())


class Draft:
    """A backup that is being made. Its folder has its own name only when `finish` has returned."""

    def __init__(self, target: Path) -> None:
        """Take the name. Raises Refused when something has it, or another backup is making it."""
        self.target = target
        self._folder = target.with_name(target.name + _DRAFT)
        if target.exists():
            raise Refused(f"{target} exists already", "Name a folder that does not exist: no backup replaces another")
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.mkdir(mode=0o700)
        except FileExistsError:
            raise Refused(
                f"{self._folder} exists: another backup makes it, or one was interrupted",
                "If none is running, delete that folder, then try again",
            ) from None
        except OSError as refused:
            raise Refused(
                f"{self._folder} cannot be made: {refused.strerror}", "Name a folder that you may write"
            ) from refused

    @contextlib.contextmanager
    def file(self, path: str) -> Iterator[Writing]:
        """Open a file of the backup for writing, anew; synced to disk at the end."""
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with write_anew(place) as file:
            yield Writing(file, path)

    def finish(self, manifest: Manifest) -> None:
        """Write manifest and seal, and give the folder its name."""
        body = manifest.model_dump_json(indent=2).encode() + b"\n"
        with self.file(MANIFEST) as file:
            file.write(body)
        with self.file(SEAL) as file:
            file.write(f"{hashlib.sha256(body).hexdigest()}  {MANIFEST}\n".encode())  # as sha256sum --check reads it
        for folder in [path for path in self._folder.rglob("*") if path.is_dir()] + [self._folder]:
            sync_folder(folder)
        if self.target.exists():
            raise Refused(f"{self.target} has been made meanwhile", "Name another folder")
        self._folder.rename(self.target)
        sync_folder(self.target.parent)

    def drop(self) -> None:
        """Remove what there is of it."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def write_anew(place: Path) -> Iterator[BinaryIO]:
    """Open a file with mode 0600 and no content; sync it at the end."""
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def opened(folder: Path) -> Manifest:
    """Return the manifest of a backup after reading every byte of it.

    Raises:
        Refused: it is none, was not finished, or a file is missing, cut or altered.
    """
    manifest = described(folder)
    for file in manifest.files:
        check(folder, file)
    return manifest


def described(folder: Path) -> Manifest:
    """Return the manifest of a backup whose files have not been read. Raises Refused."""
    if folder.name.endswith(_DRAFT) or not (folder / SEAL).is_file():
        raise Refused(f"{folder} is no whole backup", "Name the folder of a backup that was finished")
    try:
        body = (folder / MANIFEST).read_bytes()
        sealed = (folder / SEAL).read_text(encoding="ascii").split()[:1]
        if sealed != [hashlib.sha256(body).hexdigest()]:
            raise _damaged(folder / MANIFEST, "has another SHA-256 than its seal says")
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise Refused(
            f"{folder / MANIFEST}: {where}: {problem['msg']}", "Use the version of this tool that made the backup"
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(folder / MANIFEST, f"cannot be read ({error})") from error


def check(folder: Path, file: StoredFile) -> None:
    """Compare a file with what the manifest says. Raises Refused."""
    place = folder / file.path
    try:
        found = stored(folder, file.path)
    except OSError as error:
        raise _damaged(place, f"cannot be read ({error.strerror})") from error
    if found.length != file.length:
        raise _damaged(place, f"has {found.length} bytes, and {file.length} were written")
    if found.sha256 != file.sha256:
        raise _damaged(place, "has another SHA-256 than was written")


def stored(folder: Path, path: str) -> StoredFile:
    """What a file of the folder is now. Raises OSError."""
    digest, length = hashlib.sha256(), 0
    with (folder / path).open("rb") as handle:
        while piece := handle.read(_READ_BYTES):
            digest.update(piece)
            length += len(piece)
    return StoredFile(path=path, length=length, sha256=digest.hexdigest())


def _damaged(place: Path, how: str) -> Refused:
    return Refused(f"{place} {how}", "Restore from another backup, or from another copy of this one")
