"""The tenant's own people: its admin invites, a member signs in, and sees what a member may see."""

from infrastructure.local.demo.stage import Stage


def invite_and_sign_in(stage: Stage) -> None:
    """The tenant gets an admin, who invites a member; both sign in through the login page."""
    path = f"/api/tenants/{stage.tenant}/users"
    admin = {"email": stage.admin_email, "name": "Adam Admin", "role": "admin"}
    stage.admin.sign_in(stage.admin_email, stage.invited(stage.owner, path, admin))
    stage.done(f"the owner invites the tenant's admin {stage.admin_email}, who signs in to the portal")
    member = {"email": stage.member_email, "name": "Jane Member", "role": "member"}
    stage.member_password = stage.invited(stage.admin, path, member)
    stage.eventually(stage.member_may_use_suite, "the member cannot use the suite")
    stage.done(f"the admin invites the member {stage.member_email}, who can use the suite")
    stage.member.sign_in(stage.member_email, stage.member_password)
    me = stage.expect(stage.member, "GET", "/api/me", 200)
    stage.member_id = str(me["id"])
    own = [(tenant["slug"], tenant["status"], tenant["role"]) for tenant in me["tenants"]]
    stage.check(me["email"] == stage.member_email and own == [(stage.tenant, "active", "member")], f"/api/me is {me}")
    tenant = stage.expect(stage.member, "GET", f"/api/tenants/{stage.tenant}", 200)
    stage.check(set(tenant) == {"slug", "name", "plan", "status"}, f"a member sees {sorted(tenant)}")
    stage.done(f"the member signs in to the portal and sees {tenant['name']}: {tenant['plan']}, {tenant['status']}")
    stage.refused(stage.member, "GET", path, 403, "insufficient_role")
    seats = {"seats": 1}
    stage.refused(stage.member, "PATCH", f"/api/tenants/{stage.tenant}", 403, "insufficient_role", seats)
    stage.done("the member is refused where members are: other people, seats")


def suspend_and_resume(stage: Stage) -> None:
    """A suspension reaches the suite and the portal, and ends."""
    path = f"/api/tenants/{stage.tenant}"
    stage.expect(stage.operator, "POST", f"{path}/suspend", 200, {"reason": "demo"})
    stage.eventually(lambda: not stage.member_may_use_suite(), "the member still uses the suite")
    stage.check(stage.shuts_out_the_member(), "the portal still shows the member the tenant")
    stage.done("the operator suspends, and the suite refuses the member's sign-in, the portal, too")
    stage.expect(stage.operator, "POST", f"{path}/resume", 200)
    stage.let_the_member_in()
    stage.done("the operator resumes, and the member signs in again")
