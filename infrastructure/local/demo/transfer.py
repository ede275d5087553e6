"""A tenant passes from one partner to another, because its own admin says so."""

from typing import Any

from infrastructure.local.demo.browser import Browser
from infrastructure.local.demo.selling import create_partner
from infrastructure.local.demo.stage import Stage


def transfer(stage: Stage) -> None:
    """A second partner asks for the tenant, its admin accepts, and everything follows."""
    create_partner(stage, stage.successor)
    people = f"/api/partners/{stage.successor}/users"
    password = stage.invited(stage.operator, people, {"email": stage.successor_email, "name": "Next Owner"})
    stage.next_owner.sign_in(stage.successor_email, password)
    stage.done(f"a second partner {stage.successor} is created, and its owner signs in")
    tenant = f"/api/tenants/{stage.tenant}"
    stage.refused(stage.next_owner, "GET", tenant, 404, "not_found")
    asked = _asked(stage)
    stage.done("its owner asks to take over the tenant, which it cannot even see")
    accept = f"{tenant}/transfers/{asked['id']}/accept"
    stage.refused(stage.member, "POST", accept, 403, "insufficient_role")
    accepted = stage.expect(stage.admin, "POST", accept, 200)
    stage.check(accepted["status"] == "accepted", f"the request is {accepted}")
    seen = stage.expect(stage.next_owner, "GET", tenant, 200)
    past = [(owned["partner"], owned["until"] is None) for owned in seen["ownership"]]
    stage.check(past == [(stage.partner, False), (stage.successor, True)], f"the ownership is {past}")
    stage.done("the tenant's admin accepts: it is the second partner's, and keeps the dates of the first")
    stage.refused(stage.owner, "GET", tenant, 404, "not_found")
    stage.done("the first partner's owner gets 404 now")
    stage.eventually(
        lambda: _billed(stage, stage.next_owner, stage.successor) and not _billed(stage, stage.owner, stage.partner),
        "billing does not follow",
    )
    stage.eventually(stage.member_may_use_suite, "the member cannot use the suite")
    stage.done("billing's summaries follow, and the member's suite does not notice")


def _asked(stage: Stage) -> dict[str, Any]:
    """Ask for the tenant, and let its admin find the request."""
    requests = f"/api/partners/{stage.successor}/transfers"

    def open_request() -> bool:
        answer = stage.next_owner.call("POST", requests, {"tenant": stage.tenant})
        # What was just created may still be on its way to the service of tenants.
        return answer.status_code == 201 or answer.json().get("code") == "transfer_already_open"

    stage.eventually(open_request, "the request is not accepted")
    [found] = stage.expect(stage.admin, "GET", f"/api/tenants/{stage.tenant}/transfers", 200, status="open")["items"]
    stage.check(found["toPartner"] == stage.successor, f"the admin sees the request {found}")
    return dict(found)


def _billed(stage: Stage, owner: Browser, partner: str) -> bool:
    summary = stage.expect(owner, "GET", f"/api/partners/{partner}/billing/summary", 200)
    return stage.tenant in {part["key"] for currency in summary["currencies"] for part in currency["parts"]}
