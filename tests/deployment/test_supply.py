"""The bill of materials is that of the lock, and no licence in it forbids what we do."""

import json
import re

import pytest

from infrastructure.docs.discovery import ROOT
from infrastructure.docs.supply import SBOM, locked

pytestmark = pytest.mark.unit

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# What obliges whoever gets the image to more than to name its authors, and fits a product under Apache-2.0 not at all.
UNFIT = re.compile(r"(?<![L])GPL|Affero|General Public|SSPL|Commons Clause|Business Source|Proprietary", re.IGNORECASE)


def test_the_bill_names_every_package_of_the_lock_and_no_other() -> None:
    lines = [line.split("==") for line in LOCK.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    pinned = {(name, re.split(r"[ ;\\]", version)[0]) for name, version in lines}
    bill = json.loads(SBOM.read_text(encoding="utf-8"))
    assert {(part["name"], part["version"]) for part in bill["components"]} == pinned
    assert set(bill["dependencies"][0]["dependsOn"]) == {part["bom-ref"] for part in bill["components"]}


def test_the_bill_holds_every_hash_of_the_lock_at_its_package() -> None:
    of_lock = [
        re.findall(r"sha256:([0-9a-f]{64})", block) for block in re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    ]
    bill = json.loads(SBOM.read_text(encoding="utf-8"))
    of_bill = [[entry["content"] for entry in part["externalReferences"][0]["hashes"]] for part in bill["components"]]
    assert sorted(sorted(hashes) for hashes in of_lock if hashes) == sorted(sorted(hashes) for hashes in of_bill)


def test_every_package_states_a_licence_that_we_can_live_with() -> None:
    stated = {package.name: package.licence() for package in locked(LOCK)}
    assert len(stated) > 50
    assert {name: licence for name, licence in stated.items() if UNFIT.search(licence)} == {}


@pytest.mark.parametrize(
    ("licence", "unfit"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-2.1", False),
        ("MPL-2.0", False),
    ],
)
def test_an_unfit_licence_is_known_when_it_is_seen(licence: str, unfit: bool) -> None:
    assert bool(UNFIT.search(licence)) is unfit
