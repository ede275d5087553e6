"""Keys and passwords: one file of its own, because whoever has it together with the data can open everything."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import check, stored, sync_folder, write_anew
from infrastructure.backup.manifest import StoredFile


@dataclass(frozen=True)
class Packing:
    """What is packed: the files of a folder, but for those that are made anew from others, and where to."""

    folder: Path
    file: Path
    derived: frozenset[str] = frozenset()


def copy(packing: Packing) -> StoredFile:
    """Write the file (tar, mode 0600); the `path` of what is returned is its bare name.

    Raises:
        Refused: the file exists, or there is nothing to copy.
    """
    target = packing.file
    if target.exists():
        raise Refused(f"{target} exists already", "Name a file that does not exist: no backup replaces another")
    files = {name: path for name, path in _files(packing.folder).items() if name not in packing.derived}
    if not files:
        raise Refused(
            f"{packing.folder} holds no keys", "Name the folder of keys in BACKUP_SECRETS, or back up without KEYS"
        )
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with write_anew(draft) as file, tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, path in files.items():
                archive.add(path, arcname=name, recursive=False)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)
    return stored(target.parent, target.name)


def restore(source: Path, expected: StoredFile | None, secrets: Path) -> int:
    """Unpack the keys into `secrets`, where there are none or the same; return how many files were written.

    Raises:
        Refused: they are not those of the backup, damaged, or others are there.
    """
    if expected is not None:
        check(source.parent, expected.model_copy(update={"path": source.name}))
    packed = _packed(source)
    present = {name: path.read_bytes() for name, path in _files(secrets).items()} if secrets.is_dir() else {}
    for name, content in packed.items():
        if name in present and present[name] != content:
            raise Refused(
                f"{secrets / name} is not the one in {source}",
                f"Move {secrets} away: both may be needed, but not mixed",
            )
    missing = {name: content for name, content in packed.items() if name not in present}
    secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    secrets.chmod(0o700)
    for name, content in missing.items():
        (secrets / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with write_anew(secrets / name) as file:
            file.write(content)
    return len(missing)


def _files(folder: Path) -> dict[str, Path]:
    """Plain files by their path inside the folder; hidden ones are drafts that somebody writes."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    }


def _packed(source: Path) -> dict[str, bytes]:
    packed = {}
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                name = Path(member.name)
                if not member.isfile() or name.is_absolute() or ".." in name.parts:
                    raise Refused(f"{source} holds {member.name}, which no backup puts there", "Use another copy")
                content = archive.extractfile(member)
                packed[member.name] = b"" if content is None else content.read()
    except (OSError, tarfile.TarError) as error:
        raise Refused(f"{source} cannot be read: {error}", "Use another copy of the keys") from error
    return packed
