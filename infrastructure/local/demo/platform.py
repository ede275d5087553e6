"""What operators do beside: a flag, the end of a partner, and the log of it all."""

from functools import partial
from typing import Any

from infrastructure.local.demo.stage import Stage

FLAG = "oci_versioning"
TOLD = {
    "partner.created",
    "platform.user_invited",
    "tenant.created",
    "tenant.activated",
    "tenant.suspended",
    "tenant.resumed",
    "tenant.transfer_opened",
    "tenant.transferred",
    "tenant.deletion_requested",
    "tenant.restored",
    "tenant.erasure_started",
    "tenant.deleted",
    "partner.terminated",
    "subscription.started",
    "subscription.canceled",
    "flag.updated",
}


def flag(stage: Stage) -> None:
    """A flag goes to a quarter of the tenants, and back."""
    path = f"/api/flags/{FLAG}"
    rolled = stage.expect(stage.operator, "PATCH", path, 200, {"state": "rollout", "pct": 25, "note": "demo"})
    stage.check((rolled["state"], rolled["pct"]) == ("rollout", 25), f"the flag is {rolled}")
    preview = stage.expect(stage.operator, "GET", f"{path}/preview", 200)
    stage.done(f"the flag {FLAG} goes to 25 %: {preview['matched']} of {preview['total']} tenants")
    back = stage.expect(stage.operator, "PATCH", path, 200, {"state": "off", "pct": 0, "note": "demo over"})
    stage.check((back["state"], back["pct"]) == ("off", 0), f"the flag is {back}")
    stage.done("and back to off")


def end_partners(stage: Stage) -> None:
    """Both partners end, because neither has a customer; what the demo made is gone."""
    for slug in (stage.partner, stage.successor):
        stage.eventually(partial(_ended, stage, slug), f"{slug} is not terminated")
    stage.done("both partners end: neither has a customer any more")


def _ended(stage: Stage, slug: str) -> bool:
    """Ask for the end of a partner; 202 says to ask again, 409 that a customer is still counted."""
    answer = stage.operator.call("POST", f"/api/partners/{slug}/terminate", {})
    stage.check(answer.status_code in {200, 202, 409}, f"terminating {slug} answered {answer.text}")
    return answer.status_code == 200 and bool(answer.json()["status"] == "terminated")


def audit(stage: Stage) -> None:
    """The log tells every step, and holds."""
    missing: set[str] = set()

    def told() -> bool:
        missing.clear()
        missing.update(TOLD - _actions(stage))
        return not missing

    stage.eventually(told, f"the log lacks {missing}")
    stage.done(f"the log tells every step: {len(_entries(stage))} entries of this run")
    verified = stage.expect(stage.operator, "GET", "/api/audit/verify", 200)
    # Checkpoints are made while this runs, and copied a moment later.
    alarms = [finding for finding in verified["findings"] if "witness" not in finding]
    stage.check(verified["ok"] is True and not alarms, f"verification says {verified}")
    stage.done(f"the chain verifies: {verified['verified']} entries")


def _entries(stage: Stage) -> list[dict[str, Any]]:
    scopes = [{"tenantSlug": stage.tenant}, {"partnerSlug": stage.partner}, {"partnerSlug": stage.successor}]
    found: dict[int, dict[str, Any]] = {}
    for scope in scopes:
        for entry in stage.expect(stage.operator, "GET", "/api/audit", 200, limit=500, **scope)["items"]:
            found[entry["seq"]] = entry
    return list(found.values())


def _actions(stage: Stage) -> set[str]:
    flags = stage.expect(stage.operator, "GET", "/api/audit", 200, action="flag.updated", limit=10)["items"]
    mine = [entry for entry in flags if entry["resourceId"] == FLAG]
    partners = stage.expect(stage.operator, "GET", "/api/audit", 200, action="partner.created", limit=20)["items"]
    own = [entry for entry in partners if entry["resourceId"] in {stage.partner, stage.successor}]
    return {entry["action"] for entry in [*_entries(stage), *mine, *own]}
