"""A partner, its owner, a tenant in the backends, and what it is worth."""

import time
from typing import Any

from infrastructure.local import seeds
from infrastructure.local.demo.stage import LOOK_SECONDS, Stage

SEATS = 25
PLAN = "business"


def sell(stage: Stage) -> None:
    """An operator makes a partner, and its owner a tenant."""
    username = seeds.demo_data()["operators"][0]["username"]
    stage.operator.sign_in(username, stage.credentials.people[username].password)
    stage.done("the operator signs in through the login page")
    create_partner(stage, stage.partner)
    stage.done(f"the operator creates the partner {stage.partner}")
    path = f"/api/partners/{stage.partner}/users"
    password = stage.invited(stage.operator, path, {"email": stage.owner_email, "name": "Demo Owner"})
    stage.done(f"the operator invites its owner {stage.owner_email}; the password is shown once")
    stage.owner.sign_in(stage.owner_email, password)
    stage.done("the owner signs in through the login page")
    tenant = new_tenant(stage)
    created = stage.expect(stage.owner, "POST", "/api/tenants", 201, tenant)
    stage.check(created["partner"] == stage.partner, "the tenant belongs to the owner's partner")
    stage.done(f"the owner creates the tenant {stage.tenant} with {SEATS} seats on the plan {PLAN}")


def create_partner(stage: Stage, slug: str) -> None:
    """An operator makes a partner."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    contract = {"startsOn": today, "termMonths": 12, "margins": [{"since": today, "marginBps": 2_000}]}
    body = {"slug": slug, "name": f"Demo {slug}", "domain": f"{slug}.example", "contract": contract}
    stage.expect(stage.operator, "POST", "/api/partners", 201, body)


def new_tenant(stage: Stage) -> dict[str, Any]:
    """What a partner sends to create the tenant."""
    return {
        "slug": stage.tenant,
        "name": f"Demo Tenant {stage.run}",
        "plan": PLAN,
        "seats": SEATS,
        "domains": [{"name": f"{stage.tenant}.example", "primary": True}],
    }


def provision(stage: Stage) -> None:
    """The backends hold the tenant, which is seen from outside."""
    stage.eventually(lambda: stage.status() == "active", "the tenant is not active")
    stage.done("provisioning reaches active")
    held: dict[str, bool] = {}

    def holds() -> bool:
        held.update(stage.backends.held(stage.tenant))
        return all(held.values())

    stage.eventually(lambda: stage.seen(holds), lambda: f"the backends hold {held}", LOOK_SECONDS)
    stage.done(f"the backends really hold it: {', '.join(held)}")


def bill(stage: Stage) -> None:
    """Billing took the catalog's price."""
    found: dict[str, Any] = {}

    def subscribed() -> bool:
        answer = stage.owner.call("GET", f"/api/tenants/{stage.tenant}/billing/summary")
        found.update(answer.json().get("subscription", {}))
        return answer.is_success

    stage.eventually(subscribed, "there is no subscription")
    prices = stage.expect(stage.owner, "GET", "/api/prices", 200)["items"]
    per_seat = next(
        p["amounts"]["EUR"] for p in prices if (p["plan"], p["cycle"], p["archived"]) == (PLAN, "month", False)
    )
    stage.check(found["perSeat"] == per_seat and found["mrr"] == per_seat * SEATS, f"the subscription is {found}")
    stage.done(f"billing shows the subscription: {found['mrr'] / 100:.2f} {found['currency']} a month")
