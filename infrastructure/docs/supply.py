"""What the image is made of: a bill of materials (CycloneDX 1.6, ECMA-424) of the lock, and the licences of it all."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from infrastructure.docs.discovery import ROOT

LOCK = ROOT / "requirements.lock"
SBOM = ROOT / "docs" / "sbom.cdx.json"
LICENCES = ROOT / "docs" / "licences.md"
_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)(?P<rest>[^\n]*\\\n(?:    --hash=[^\n]*\n?)+)", re.M
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_APPROVED = "License :: OSI Approved :: "
_LONGEST_LICENCE = 60
# Made once for this project; the number of a bill is derived from it and from the lock.
_NAMESPACE = uuid.UUID("6f1d0a52-2b7e-5c0c-9a5e-0d6c3a0c8f11")
_PAGE = """\
# Licences

Every package of `requirements.lock`, with the licence that its own metadata states. Beside these the image holds our
own code (Apache-2.0), Python, and its base image. Made by `make sbom`; `docs/sbom.cdx.json` says the same
for machines, with the hash of every file that the lock allows.

| package | version | licence |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class Package:
    """One package of the lock; `hashes` are the SHA-256 of the files that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL, in the form that the purl specification gives PyPI's names."""
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', self.name).lower()}@{self.version}"

    def licence(self) -> str:
        """The licence as its installed metadata states it (core metadata 2.4, else classifiers, else free text).

        Raises:
            LookupError: it is not installed, is installed in another version, or states none.
        """
        try:
            stated = metadata.metadata(self.name)
        except metadata.PackageNotFoundError:
            raise LookupError(f"{self.name} is not installed: run `make venv`") from None
        if stated["Version"] != self.version:
            raise LookupError(f"{self.name} {stated['Version']} is installed, not {self.version}: run `make venv`")
        expression, free = ((stated.get_all(field) or [""])[0].strip() for field in ("License-Expression", "License"))
        classified = sorted(
            text.removeprefix(_APPROVED) for text in stated.get_all("Classifier") or [] if text.startswith(_APPROVED)
        )
        brief = free if len(free) <= _LONGEST_LICENCE and "\n" not in free else ""
        found: str = expression or " AND ".join(classified) or brief
        if not found or found == "UNKNOWN":
            raise LookupError(f"{self.name} {self.version} states no licence: ask its authors, or leave it out")
        return found


def locked(text: str) -> list[Package]:
    """The packages of a lock, by name."""
    return sorted(
        (
            Package(match["name"], match["version"], tuple(sorted(_HASH.findall(match["rest"]))))
            for match in _ENTRY.finditer(text)
        ),
        key=lambda package: package.name.lower(),
    )


def render() -> dict[Path, str]:
    """Both files, by their paths. The same lock gives the same bytes. Raises LookupError."""
    text = LOCK.read_text(encoding="utf-8")
    packages = locked(text)
    return {SBOM: _bill(packages, text), LICENCES: _PAGE + "".join(_rows(packages))}


def _rows(packages: list[Package]) -> Iterator[str]:
    for package in packages:
        yield f"| {package.name} | {package.version} | {package.licence()} |\n"


def _bill(packages: list[Package], lock: str) -> str:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    subject = {
        "type": "application",
        "bom-ref": "dezky",
        "name": "dezky",
        "version": version[1] if version else "0",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, hashlib.sha256(lock.encode()).hexdigest())}",
        "version": 1,
        # No time: the same lock gives the same bill.
        "metadata": {"component": subject},
        "components": [_component(package) for package in packages],
        "dependencies": [{"ref": "dezky", "dependsOn": [package.purl for package in packages]}],
    }
    return json.dumps(document, indent=1) + "\n"


def _component(package: Package) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "licenses": [{"license": {"name": package.licence()}}],
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.purl,
                "hashes": [{"alg": "SHA-256", "content": value} for value in package.hashes],
            }
        ],
    }
