"""Peers on Node: their sources are in ``peers/``, their packages are installed outside of the repository's files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

from infrastructure.local.place import ROOT

SOURCES = ROOT / "benchmarks" / "peers"
_INSTALLED = ROOT / ".local" / "benchmarks" / "peers"
_INSTALL_SECONDS = 240


class NoPeer(Exception):
    """The peer cannot run on this machine; the message says why and what to do."""


def installed(name: str) -> list[str]:
    """Return the command that runs a peer, after installing its locked packages if that was not done before.

    Raises:
        NoPeer: there is no Node, or npm could not install.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NoPeer("there is no Node.js with npm on the PATH (20.19 or newer): install it to measure this peer")
    source = SOURCES / name
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()))
    folder = _INSTALLED / f"{name}-{digest.hexdigest()[:12]}"
    if not (folder / ".installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
        command = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=folder, check=True, timeout=_INSTALL_SECONDS, stdout=subprocess.DEVNULL)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoPeer(f"npm could not install the peer {name}: {error}") from error
        (folder / ".installed").touch()
    return ["node", str(folder / "server.js")]


def environment(**variables: str) -> dict[str, str]:
    """Return a peer's environment, in production mode."""
    return {"PATH": os.environ["PATH"], "NODE_ENV": "production", **variables}
