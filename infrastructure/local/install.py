"""Creates `.venv` and installs the locked requirements into it, when they are missing or have changed.

Run by `make` with any Python 3.11 or newer; uses the standard library only. Says nothing when there is nothing to
do. Everything goes to standard error, because `make -s token` must print a token and nothing else.
"""

import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
STAMP = VENV / ".dezky-installed"
OLDEST = (3, 11)


def main() -> int:
    """Installs if need be. Returns 2 after one line when this machine cannot."""
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return _refuse(f"Python {platform.python_version()} is too old. Call make with PYTHON=python{wanted} or newer.")
    if _is_installed():
        return 0
    VENV.mkdir(exist_ok=True)
    # Two makes at once: the second waits, and then finds the work done.
    with (VENV / ".dezky-lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return 0 if _is_installed() else _install()


def _install() -> int:
    began = time.monotonic()
    print("Installing the locked requirements into .venv …", file=sys.stderr, flush=True)
    STAMP.unlink(missing_ok=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        return _refuse("This Python has no ensurepip. Install its venv package (Debian: apt install python3-venv).")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    done = subprocess.run([*pip, "--require-hashes", "--requirement", str(LOCK)], stdout=sys.stderr, check=False)
    if done.returncode:
        return _refuse("pip could not install requirements-dev.lock, see above. Check the network, then try again.")
    STAMP.write_text(_fingerprint(), encoding="ascii")
    print(f"Installed after {time.monotonic() - began:.0f} s.", file=sys.stderr)
    return 0


def _is_installed() -> bool:
    try:
        return STAMP.read_text(encoding="ascii") == _fingerprint() and os.access(VENV / "bin" / "python", os.X_OK)
    except FileNotFoundError:
        return False


def _fingerprint() -> str:
    """Changes with the lock and with this folder's place, because scripts in a venv name its path."""
    return hashlib.sha256(LOCK.read_bytes() + str(VENV).encode()).hexdigest()


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
