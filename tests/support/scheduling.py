"""Which tests run on one worker: those of a file, and all that need the fleet.

pytest-xdist 3.8 hands groups over inside the ids of tests, and pytest 9.2 no longer lets an id be changed, so
``xdist_group`` has no effect: every worker would start a fleet. What a scheduler of our own can go by is the path.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

FLEET = (
    "tests/end_to_end/",
    "tests/security/access/",
    "tests/security/test_bad_input.py",
    "tests/security/test_documented_answers.py",
)
"""Where the fleet of the session is used: one worker starts one."""

OWN_FLEET = "tests/local/test_fleet.py"
"""Starts and ends fleets itself, beside the others."""

LONG = (
    "tests/torture/",
    "tests/tenant/test_provisioning",
    "tests/tenant/test_erasure.py",
    "tests/integration/",
    "tests/partner/test_reports_health.py",
    "tests/audit/cold/test_archiver.py",
)
"""Half a minute and more each: begun last, one of them would keep one worker busy while the others have ended."""


def needs_fleet(path: str) -> bool:
    """Tell whether the tests at ``path``, relative to the root, share the fleet."""
    return path.startswith(FLEET)


def rank(path: str) -> int:
    """Return when the tests at ``path`` begin: the fleets first, then what takes long; the rest fills the gaps."""
    return 0 if path.startswith((*FLEET, OWN_FLEET)) else 1 if path.startswith(LONG) else 2


class ByFile(LoadFileScheduling):
    """A file goes to one worker whole, because its servers are made once a module; the fleet's files go together."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return "fleet" if needs_fleet(path) else path
