"""Domains, accounts, tenants and keys: shapes, keys, links, patches."""

from typing import Any

import pytest

from tests.sandbox.stalwart.process import BY_HAND, PASSWORD, SUSPENDED, USING, Stalwart, basic, eventually, user

Domain = tuple[str, str]


def test_a_second_domain_of_the_name_is_a_primary_key_violation(stalwart: Stalwart, domain: Domain) -> None:
    identity, name = domain
    refusal = stalwart.refusal("Domain", {"name": name.upper(), **BY_HAND})
    assert refusal["type"] == "primaryKeyViolation"
    assert refusal["properties"] == ["name"]
    assert refusal["objectId"] == {"object": "Domain", "id": identity}


def test_an_address_belongs_to_one_account_alias_or_not(stalwart: Stalwart, domain: Domain) -> None:
    first = stalwart.user("jane", domain[0], aliases={"0": {"name": "j.doe", "domainId": domain[0]}})
    for name in ("jane", "j.doe", "J.Doe"):
        refusal = stalwart.refusal("Account", user(name, domain[0]))
        assert refusal["type"] == "primaryKeyViolation"
        assert refusal["objectId"] == {"object": "Account", "id": first}
    second = stalwart.user("john", domain[0])
    alias = {"aliases/0": {"name": "jane", "domainId": domain[0]}}
    assert stalwart.update("Account", second, alias)["notUpdated"][second]["type"] == "primaryKeyViolation"
    assert stalwart.update("Account", first, {"aliases/0": None})["updated"] == {first: None}
    assert stalwart.user("j.doe", domain[0])


def test_what_is_missing_fails_validation_and_all_of_it_is_named(stalwart: Stalwart) -> None:
    refusal = stalwart.refusal("Domain", {})
    assert refusal["type"] == "validationFailed"
    named = {(error["type"], error["property"]) for error in refusal["validationErrors"]}
    required = ("name", "certificateManagement", "dkimManagement", "dnsManagement")
    assert named == {("Required", name) for name in required}


def test_what_is_too_long_fails_validation(stalwart: Stalwart, domain: Domain) -> None:
    refusal = stalwart.refusal("Account", user("x" * 65, domain[0]))
    assert refusal["type"] == "validationFailed"
    assert [(error["type"], error["property"]) for error in refusal["validationErrors"]] == [("MaxLength", "name")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"surprise": 1}, "surprise"),
        ({"emailAddress": "x@y.example"}, "emailAddress"),
        ({"usedDiskQuota": 0}, "usedDiskQuota"),
        ({"aliases": []}, "aliases"),
        ({"aliases": {"first": {}}}, "aliases/first"),
        ({"memberGroupIds": {"b": "yes"}}, "memberGroupIds/b"),
        ({"quotas": {"maxDiskQuota": -1}}, "quotas/maxDiskQuota"),
        ({"quotas": {"maxDiskQuota": True}}, "quotas/maxDiskQuota"),
        ({"quotas": {"maxFun": 1}}, "quotas/maxFun"),
        ({"permissions": {"@type": "Never"}}, "permissions/@type"),
        ({"roles": "User"}, "roles"),
        ({"@type": "Robot"}, "@type"),
        ({"name": "with space"}, "name"),
    ],
)
def test_a_wrong_shape_is_an_invalid_patch_that_names_the_place(
    stalwart: Stalwart, domain: Domain, change: dict[str, Any], path: str
) -> None:
    refusal = stalwart.refusal("Account", {**user("shape", domain[0]), **change})
    assert (refusal["type"], refusal["properties"]) == ("invalidPatch", [path])


def test_a_pointer_changes_one_member_and_null_removes_it(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("patch", domain[0], quotas={"maxDiskQuota": 5, "maxApiKeys": 2})
    changes = {"quotas/maxDiskQuota": 7, "quotas/maxApiKeys": None, "description": "Pat"}
    assert stalwart.update("Account", identity, changes)["updated"] == {identity: None}
    account = stalwart.read("Account", identity)
    assert (account["quotas"], account["description"]) == ({"maxDiskQuota": 7}, "Pat")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"surprise/deep": 1},
        {"name/deep": 1},
        {"id": "b"},
        {"quotas": {}, "quotas/maxDiskQuota": 1},
    ],
)
def test_a_pointer_that_leads_nowhere_changes_nothing(
    stalwart: Stalwart, domain: Domain, changes: dict[str, Any]
) -> None:
    identity = stalwart.user("still", domain[0])
    before = stalwart.read("Account", identity)
    answer = stalwart.update("Account", identity, {"description": "changed", **changes})
    assert answer["notUpdated"][identity]["type"] == "invalidPatch"
    assert stalwart.read("Account", identity) == before


def test_a_name_of_a_domain_is_read_only_and_a_type_stays(stalwart: Stalwart, domain: Domain) -> None:
    answer = stalwart.update("Domain", domain[0], {"name": "other.example"})
    assert answer["notUpdated"][domain[0]]["type"] == "invalidPatch"
    identity = stalwart.user("typed", domain[0])
    answer = stalwart.update("Account", identity, {"@type": "Group"})
    assert answer["notUpdated"][identity]["type"] == "invalidProperties"


def test_what_does_not_exist_cannot_be_named_changed_or_destroyed(stalwart: Stalwart, domain: Domain) -> None:
    refusal = stalwart.refusal("Account", user("x", "zzzzz"))
    assert (refusal["type"], refusal["objectId"]) == ("invalidForeignKey", {"object": "Domain", "id": "zzzzz"})
    person = stalwart.user("no-group", domain[0])
    refusal = stalwart.refusal("Account", user("x", domain[0], memberGroupIds={person: True}))
    assert refusal["type"] == "invalidForeignKey"
    assert stalwart.update("Domain", "zzzzz", {})["notUpdated"] == {"zzzzz": {"type": "notFound"}}
    assert stalwart.call("x:Domain/set", {"destroy": ["zzzzz"]})["notDestroyed"] == {"zzzzz": {"type": "notFound"}}


def test_what_is_linked_to_stays_and_names_what_links(stalwart: Stalwart, domain: Domain) -> None:
    person = stalwart.user("link", domain[0])
    refusal = stalwart.call("x:Domain/set", {"destroy": [domain[0]]})["notDestroyed"][domain[0]]
    assert refusal["type"] == "objectIsLinked"
    assert refusal["linkedObjects"] == [{"object": "Account", "id": person}]
    assert stalwart.call("x:Account/set", {"destroy": [person]})["destroyed"] == [person]
    assert stalwart.call("x:Domain/set", {"destroy": [domain[0]]})["destroyed"] == [domain[0]]
    assert stalwart.call("x:Domain/get", {"ids": [domain[0]]})["notFound"] == [domain[0]]


def test_an_account_is_found_by_its_domain_and_name(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("find.me", domain[0], description="Fiona Finder")
    stalwart.user("other", domain[0])

    def found(**conditions: str) -> list[str]:
        ids: list[str] = stalwart.call("x:Account/query", {"filter": {"domainId": domain[0], **conditions}})["ids"]
        return ids

    assert stalwart.call("x:Domain/query", {"filter": {"name": domain[1]}})["ids"] == [domain[0]]
    assert found(name="find.me") == [identity]
    assert found(name="find") == []
    assert found(text="fiona") == [identity]
    assert found(**{"@type": "Group"}) == []


def test_a_tenant_holds_what_names_it(stalwart: Stalwart) -> None:
    tenant = stalwart.create("Tenant", {"name": "Fjord", "quotas": {"maxAccounts": 3}})
    home = stalwart.domain("fjord-tenant.example", memberTenantId=tenant)
    assert stalwart.call("x:Domain/query", {"filter": {"memberTenantId": tenant}})["ids"] == [home]
    assert stalwart.call("x:Tenant/query", {"filter": {"text": "fjord"}})["ids"] == [tenant]
    refusal = stalwart.call("x:Tenant/set", {"destroy": [tenant]})["notDestroyed"][tenant]
    assert refusal["linkedObjects"] == [{"object": "Domain", "id": home}]


def test_an_administrator_of_a_tenant_manages_its_own_and_within_quota(stalwart: Stalwart, domain: Domain) -> None:
    tenant = stalwart.create("Tenant", {"name": "Own house", "quotas": {"maxAccounts": 2}})
    home = stalwart.domain("own-house.example", memberTenantId=tenant)
    stalwart.user("boss", home, memberTenantId=tenant, roles={"@type": "Admin"})
    key = _key_of(stalwart, "boss@own-house.example")
    assert stalwart.call("x:Domain/query", {}, key)["ids"] == [home]
    assert stalwart.call("x:Domain/get", {"ids": [domain[0]]}, key)["notFound"] == [domain[0]]
    assert stalwart.call("x:Tenant/query", {}, key)["type"] == "forbidden"
    assert stalwart.refusal("Account", user("x", domain[0]), key)["type"] == "invalidForeignKey"
    second = stalwart.create("Account", user("second", home), key)
    assert stalwart.read("Account", second)["memberTenantId"] == tenant
    assert stalwart.refusal("Account", user("third", home), key)["type"] == "overQuota"


def _key_of(stalwart: Stalwart, address: str) -> str:
    call = ["x:ApiKey/set", {"create": {"k": {"description": "of the tests"}}}, "0"]
    body = {"using": USING, "methodCalls": [call]}
    answer = stalwart.http.post("/jmap", json=body, headers=basic(address, PASSWORD))
    key: str = answer.json()["methodResponses"][0][1]["created"]["k"]["secret"]
    return key


def test_secrets_read_as_a_mask_and_sending_the_mask_keeps_them(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("masked", domain[0])
    address = f"masked@{domain[1]}"
    credentials = stalwart.read("Account", identity)["credentials"]
    mask = credentials["0"]["secret"]
    assert set(mask) == {"*"}
    assert "updated" in stalwart.update("Account", identity, {"credentials": credentials})
    assert "updated" in stalwart.update("Account", identity, {"credentials/0/secret": mask})
    assert stalwart.sign_in(address).status_code == 200
    another = "another-Fox-eats-17-pears"
    assert "updated" in stalwart.update("Account", identity, {"credentials/0/secret": another})
    assert stalwart.sign_in(address).status_code == 401
    assert stalwart.sign_in(address, another).status_code == 200
    content = b"".join(path.read_bytes() for path in stalwart.state.iterdir())
    assert PASSWORD.encode() not in content
    assert another.encode() not in content


@pytest.mark.parametrize("secret", ["short1!", "password", "password1234", "aaaaaaaaaaaaaaa", "12345678", "x" * 129])
def test_a_weak_password_is_refused(stalwart: Stalwart, domain: Domain, secret: str) -> None:
    credentials = {"0": {"@type": "Password", "secret": secret}}
    refusal = stalwart.refusal("Account", user("weak", domain[0], credentials=credentials))
    assert (refusal["type"], refusal["properties"]) == ("invalidProperties", ["secret"])


def test_a_password_hash_is_stored_as_it_is(stalwart: Stalwart, domain: Domain) -> None:
    # printf 'correct horse battery staple' | openssl dgst -sha256 -binary | base64
    kept = "{SHA256}xLvLH77JnWW/WdhcjLYu4tuWPw/hBvSD2a+nO9Tjmoo="
    stalwart.user("hashed", domain[0], credentials={"0": {"@type": "Password", "secret": kept}})
    assert stalwart.sign_in(f"hashed@{domain[1]}", "correct horse battery staple").status_code == 200
    assert stalwart.sign_in(f"hashed@{domain[1]}", kept).status_code == 401


def test_an_account_has_one_password_and_no_other_credential_by_hand(stalwart: Stalwart, domain: Domain) -> None:
    one = {"@type": "Password", "secret": PASSWORD}
    for credentials in ({"0": one, "1": one}, {"0": {"@type": "ApiKey", "secret": "x"}}):
        refusal = stalwart.refusal("Account", user("many", domain[0], credentials=credentials))
        assert (refusal["type"], refusal["properties"]) == ("invalidProperties", ["credentials"])


def test_an_api_key_is_shown_once_and_five_are_the_most(stalwart: Stalwart, domain: Domain) -> None:
    stalwart.user("keys", domain[0])
    key = _key_of(stalwart, f"keys@{domain[1]}")
    assert key.startswith("API_")
    [shown] = stalwart.call("x:ApiKey/get", {}, key)["list"]
    assert set(shown["secret"]) == {"*"}
    others = [stalwart.create("ApiKey", {"description": "more"}, key) for _ in range(4)]
    assert stalwart.refusal("ApiKey", {"description": "too many"}, key)["type"] == "overQuota"
    assert stalwart.call("x:ApiKey/set", {"destroy": others[:1]}, key)["destroyed"] == others[:1]
    # Whose key it is decides what it may: this account manages nothing.
    assert stalwart.call("x:Account/query", {}, key)["type"] == "forbidden"
    assert stalwart.call("x:ApiKey/get", {"ids": others})["notFound"] == others


def test_a_key_of_fewer_permissions_has_no_more_than_those(stalwart: Stalwart) -> None:
    only = {"@type": "Replace", "enabledPermissions": {"authenticate": True, "sysDomainQuery": True}}
    created = stalwart.call("x:ApiKey/set", {"create": {"k": {"description": "reader", "permissions": only}}})[
        "created"
    ]
    key = created["k"]["secret"]
    assert "ids" in stalwart.call("x:Domain/query", {}, key)
    assert stalwart.call("x:Domain/get", {}, key)["type"] == "forbidden"
    expired = {"update": {created["k"]["id"]: {"expiresAt": "2020-01-01T00:00:00Z"}}}
    assert "updated" in stalwart.call("x:ApiKey/set", expired)
    assert stalwart.post(token=key).status_code == 401
    stalwart.call("x:ApiKey/set", {"destroy": [created["k"]["id"]]})


def test_a_destroyed_account_is_gone_at_once_and_its_mail_a_while_later(own: Any) -> None:
    instance = own(destroyDelayMs=600)
    instance.start()
    tenant = instance.create("Tenant", {"name": "T"})
    home = instance.domain("gone.example", memberTenantId=tenant)
    identity = instance.user("leaver", home, memberTenantId=tenant)
    assert instance.mail("leaver@gone.example", bytes=4096) == "accepted"
    assert instance.read("Account", identity)["usedDiskQuota"] == 4096
    assert instance.call("x:Account/set", {"destroy": [identity]})["destroyed"] == [identity]
    assert instance.sign_in("leaver@gone.example").status_code == 401
    assert instance.mail("leaver@gone.example") == "bounced"
    [task] = instance.call("x:Task/get", {})["list"]
    assert (task["@type"], task["accountId"], task["status"]) == ("DestroyAccount", identity, {"@type": "Pending"})
    assert instance.read("Tenant", tenant)["usedDiskQuota"] == 4096
    instance.stop(9)
    instance.start()
    eventually(lambda: instance.read("Tenant", tenant)["usedDiskQuota"] == 0, "the mail stayed")
    assert instance.call("x:Task/get", {})["list"] == []
    assert instance.call("x:Task/set", {"create": {"t": {}}})["type"] == "forbidden"


def test_permissions_are_kept_as_sent(stalwart: Stalwart, domain: Domain) -> None:
    identity = stalwart.user("kept", domain[0])
    assert "updated" in stalwart.update("Account", identity, {"permissions": SUSPENDED})
    assert stalwart.read("Account", identity)["permissions"] == SUSPENDED
