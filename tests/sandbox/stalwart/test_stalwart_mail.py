"""Signing in to mail, suspension, arriving and sending, quotas."""

from typing import Any

import pytest

from tests.sandbox.stalwart.process import ADMIN, ADMIN_SECRET, PASSWORD, SUSPENDED, Stalwart

Domain = tuple[str, str]


def submit(stalwart: Stalwart, sender: str) -> str:
    answer = stalwart.http.post("/_sandbox/submission", json={"from": sender, "to": "x@elsewhere.example"})
    result: str = answer.json()["result"]
    return result


def test_an_account_signs_in_with_its_password(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("jane", domain[0], aliases={"0": {"name": "j", "domainId": domain[0]}})
    session = stalwart.sign_in(f"jane@{domain[1]}").json()
    assert session["username"] == f"jane@{domain[1]}"
    assert session["accounts"].keys() == {identity}
    assert session["apiUrl"] == f"{stalwart.url}/jmap/"
    assert session["capabilities"]["urn:ietf:params:jmap:core"]["maxCallsInRequest"] == 16
    assert stalwart.sign_in(f"j@{domain[1]}").status_code == 200
    assert stalwart.sign_in(ADMIN, ADMIN_SECRET).status_code == 200


@pytest.mark.parametrize(("name", "password"), [("jane", "wrong-Password-123"), ("nobody", PASSWORD), ("jane", "")])
def test_a_wrong_password_and_an_unknown_account_are_both_401(
    stalwart: Stalwart, domain: Domain, name: str, password: str
) -> None:
    stalwart.user("jane", domain[0])
    assert stalwart.sign_in(f"{name}@{domain[1]}", password).status_code == 401


def test_a_suspended_account_is_403_until_it_inherits_again(stalwart: Stalwart, domain: Domain) -> None:
    address = f"susan@{domain[1]}"
    identity = stalwart.user("susan", domain[0])
    assert "updated" in stalwart.update("Account", identity, {"permissions": SUSPENDED})
    answer = stalwart.sign_in(address)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert stalwart.sign_in(address, "wrong-Password-123").status_code == 401
    assert submit(stalwart, address) == "refused"
    assert stalwart.mail(address) == "accepted"
    assert "updated" in stalwart.update("Account", identity, {"permissions": {"@type": "Inherit"}})
    assert stalwart.sign_in(address).status_code == 200
    assert submit(stalwart, address) == "accepted"


def test_without_email_receive_mail_bounces(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("deaf", domain[0])
    assert "updated" in stalwart.update("Account", identity, {"permissions": SUSPENDED})
    more = {"permissions/disabledPermissions/emailReceive": True}
    assert "updated" in stalwart.update("Account", identity, more)
    assert stalwart.mail(f"deaf@{domain[1]}") == "bounced"


def test_what_is_disabled_stays_disabled_whatever_enables_it(stalwart: Stalwart, domain: Domain) -> None:
    both = {**SUSPENDED, "enabledPermissions": {"authenticate": True}}
    stalwart.user("both", domain[0], permissions=both)
    assert stalwart.sign_in(f"both@{domain[1]}").status_code == 403


def test_the_permissions_of_a_tenant_bind_its_accounts(stalwart: Stalwart) -> None:
    tenant = stalwart.create("Tenant", {"name": "Bound"})
    home = stalwart.domain("bound.example", memberTenantId=tenant)
    stalwart.user("ben", home, memberTenantId=tenant)
    assert stalwart.sign_in("ben@bound.example").status_code == 200
    assert "updated" in stalwart.update("Tenant", tenant, {"permissions": SUSPENDED})
    assert stalwart.sign_in("ben@bound.example").status_code == 403


def test_a_disabled_domain_changes_nothing_as_in_the_original(stalwart: Stalwart, domain: Domain) -> None:
    stalwart.user("still", domain[0])
    assert "updated" in stalwart.update("Domain", domain[0], {"isEnabled": False})
    assert stalwart.sign_in(f"still@{domain[1]}").status_code == 200


def test_mail_fills_the_quota_and_is_then_deferred(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("full", domain[0], quotas={"maxDiskQuota": 1000})
    address = f"full@{domain[1]}"
    assert stalwart.mail(address, bytes=600) == "accepted"
    assert stalwart.mail(address, bytes=401) == "deferred"
    assert stalwart.mail(address, bytes=400) == "accepted"
    assert stalwart.read("Account", identity)["usedDiskQuota"] == 1000
    assert "updated" in stalwart.update("Account", identity, {"quotas/maxDiskQuota": None})
    assert stalwart.mail(address, bytes=401) == "accepted"


def test_mail_for_nobody_bounces(stalwart: Stalwart, domain: Domain) -> None:
    assert stalwart.mail(f"nobody@{domain[1]}") == "bounced"
    assert stalwart.mail("nobody@unknown.example") == "bounced"


@pytest.mark.parametrize("body", [{}, {"to": "x", "from": "y@z.example"}, {"to": "x@y.example", "from": "a@b", "c": 1}])
def test_a_mistyped_mail_is_refused(stalwart: Stalwart, body: dict[str, Any]) -> None:
    assert stalwart.http.post("/_sandbox/mail", json=body).status_code == 422
    answer = stalwart.http.post("/_sandbox/mail", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
