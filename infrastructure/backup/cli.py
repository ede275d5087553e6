"""The commands: `python -m infrastructure.backup backup|check|restore|keys|erasures`.

Exit codes: 0 done, 1 refused or broken off, 2 a setting or an argument is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from infrastructure.backup import erasures, keys
from infrastructure.backup.backing_up import back_up
from infrastructure.backup.deployment import BackupSettings
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import opened
from infrastructure.backup.manifest import Manifest
from infrastructure.backup.restoring import Restored, restore
from shared.clock import SystemClock
from shared.settings import load

OK, REFUSED, WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    asked = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = asked.run
    try:
        return run(asked)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infrastructure.backup", description="Backs up and restores a deployment")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    made = add("backup", _back_up, "write a backup while everything serves")
    made.add_argument("folder", type=Path, help="where to; it must not exist")
    made.add_argument("--keys", type=Path, metavar="FILE", help="write BACKUP_SECRETS into this file")
    add("check", _check, "read every byte of a backup").add_argument("folder", type=Path)
    add("restore", _restore, "restore into empty servers; no service may run").add_argument("folder", type=Path)
    unpacked = add("keys", _keys, "unpack a file of keys into BACKUP_SECRETS")
    unpacked.add_argument("file", type=Path)
    unpacked.add_argument("--of", type=Path, metavar="FOLDER", help="the backup that it must belong to")
    add("erasures", _erasures, "bring the list of the erased up to date; run it every few minutes")
    return parser


def _back_up(asked: argparse.Namespace) -> int:
    settings = load(BackupSettings)
    packing = None if asked.keys is None else keys.Packing(_secrets(settings), asked.keys)
    print(
        made_known(asyncio.run(back_up(settings.deployment, asked.folder, settings.erasures, SystemClock(), packing)))
    )
    return OK


def _check(asked: argparse.Namespace) -> int:
    print(made_known(opened(asked.folder)))
    return OK


def _restore(asked: argparse.Namespace) -> int:
    settings = load(BackupSettings)
    print(done_known(asyncio.run(restore(settings.deployment, asked.folder, settings.erasures, SystemClock()))))
    return OK


def _keys(asked: argparse.Namespace) -> int:
    expected = None if asked.of is None else opened(asked.of).keys
    print(f"{keys.restore(asked.file, expected, _secrets(load(BackupSettings)))} files were written.")
    return OK


def _erasures(_asked: argparse.Namespace) -> int:
    settings = load(BackupSettings)
    print(f"{asyncio.run(erasures.write_down(settings.deployment, settings.erasures))} people are in the list.")
    return OK


def _secrets(settings: BackupSettings) -> Path:
    if settings.secrets is None:
        raise Refused("BACKUP_SECRETS is not set", "Set it to the folder of keys")
    return settings.secrets


def made_known(manifest: Manifest) -> str:
    """What a backup holds, in a few lines."""
    documents = sum(copied.documents for copied in manifest.collections)
    size = sum(file.length for file in manifest.files) / 1024**2
    lines = [
        f"{len(manifest.collections)} collections with {documents} documents, and {len(manifest.streams)} streams: "
        f"{size:.1f} MiB, whole",
        f"{manifest.erasures} people were erased by then",
    ]
    if manifest.left_out:
        lines.append(f"Not in it, as no service owns them: {', '.join(manifest.left_out)}")
    if manifest.keys is None:
        lines.append("No keys belong to it: without those of the time it opens nothing")
    return "\n".join(lines)


def done_known(restored: Restored) -> str:
    """What a restore did, in a few lines."""
    lines = [made_known(restored.manifest), f"Restored. {restored.people} people are erased, in every service"]
    if restored.from_the_start:
        lines.append(f"These consumers hear the whole stream again: {', '.join(restored.from_the_start)}")
    return "\n".join([*lines, "Now run the bootstrap job, then start the services"])
