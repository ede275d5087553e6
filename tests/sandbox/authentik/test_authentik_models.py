"""Every reply against the models that the vendor's own client was generated with, from the schema of 2026.8.5.

The models read leniently, so that a reply is also compared member by member: none missing, none unknown.
"""

import importlib.util
import sys
import typing
from typing import Any

import pytest
from pydantic import BaseModel

from tests.sandbox.authentik.browser import Browser
from tests.sandbox.authentik.process import MEMBER, StandIn


def parsed(model: Any, reply: Any) -> BaseModel:
    """The reply as the client sees it. Fails if it has a member more or less than the model."""
    assert_members(model, reply, model.__name__)
    instance: BaseModel = model.from_dict(reply)
    return instance


def assert_members(model: type[BaseModel], value: Any, place: str) -> None:
    assert isinstance(value, dict), place
    assert value.keys() == model.model_fields.keys(), place
    for name, field in model.model_fields.items():
        assert_value(field.annotation, value[name], f"{place}.{name}")


def assert_value(kind: Any, value: Any, place: str) -> None:
    if typing.get_origin(kind) is typing.Union:
        kinds = typing.get_args(kind)
        assert value is not None or type(None) in kinds, place
        # In these models a union is "this or null".
        kind = kinds[0] if value is not None else None
    if typing.get_origin(kind) is list:
        (element,) = typing.get_args(kind)
        for index, member in enumerate(value):
            assert_value(element, member, f"{place}[{index}]")
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        assert_members(kind, value, place)
    else:
        assert value is not None or kind is None, place


def reply(instance: StandIn, path: str, **query: Any) -> Any:
    answer = instance.api("GET", path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def models() -> Any:
    """The client's models without the rest of it: to import its 3,500 calls, which nobody makes, takes six seconds."""
    spec = importlib.util.find_spec("authentik_client")
    assert spec is not None
    sys.modules["authentik_client"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("authentik_client.models")


@pytest.fixture(scope="module")
def filled(authentik: StandIn) -> StandIn:
    """An instance with one of everything, and every kind of event."""
    above = authentik.new_group("above", is_superuser=True, attributes={"a": 1})
    group = authentik.new_group("group", parents=[above["pk"]])
    user = authentik.new_user("person", email="person@acme.example", groups=[group["pk"]], attributes={"b": [2]})
    token = {"identifier": "person", "intent": "app_password", "user": user["pk"]}
    authentik.api("POST", "/core/tokens/", token)
    authentik.api("GET", "/core/tokens/person/view_key/")
    authentik.give_recovery_flow()
    browser = Browser(authentik)
    browser.submit(browser.authorize().headers["location"], username="person", password="wrong")
    browser.sign_in(MEMBER)
    browser.http.get("/application/o/dezky-portal/end-session/")
    link = authentik.api("POST", f"/core/users/{user['pk']}/recovery/").json()["link"]
    browser.submit(link, password="a new one")
    spare = authentik.new_user("spare")
    authentik.api("DELETE", f"/core/users/{spare['pk']}/")
    return authentik


def test_users(filled: StandIn, models: Any) -> None:
    page = parsed(models.PaginatedUserList, reply(filled, "/core/users/", include_groups="true"))
    assert isinstance(page, models.PaginatedUserList)
    person = next(user for user in page.results if user.username == "person")
    assert person.groups_obj
    assert person.is_superuser
    assert parsed(models.User, reply(filled, f"/core/users/{person.pk}/")) == person
    parsed(models.PaginatedUserList, reply(filled, "/core/users/", include_groups="false"))
    created = filled.new_user("created")
    parsed(models.User, created)
    parsed(models.User, filled.api("PATCH", f"/core/users/{created['pk']}/", {"name": "x"}).json())


def test_groups(filled: StandIn, models: Any) -> None:
    page = parsed(models.PaginatedGroupList, reply(filled, "/core/groups/"))
    assert isinstance(page, models.PaginatedGroupList)
    group = next(group for group in page.results if group.name == "group")
    assert group.users_obj
    assert group.parents_obj
    assert parsed(models.Group, reply(filled, f"/core/groups/{group.pk}/")) == group
    parsed(models.PaginatedGroupList, reply(filled, "/core/groups/", include_users="false"))
    parsed(models.Group, filled.new_group("created"))


def test_tokens(filled: StandIn, models: Any) -> None:
    page = parsed(models.PaginatedTokenList, reply(filled, "/core/tokens/"))
    assert isinstance(page, models.PaginatedTokenList)
    assert [token.identifier for token in page.results] == ["person"]
    parsed(models.Token, reply(filled, "/core/tokens/person/"))
    parsed(models.TokenView, reply(filled, "/core/tokens/person/view_key/"))
    parsed(models.Token, filled.api("POST", "/core/tokens/", {"identifier": "created", "expiring": False}).json())


def test_events(filled: StandIn, models: Any) -> None:
    page = parsed(models.PaginatedEventList, reply(filled, "/events/events/", page_size=100))
    assert isinstance(page, models.PaginatedEventList)
    assert {event.action.value for event in page.results} >= {
        "login",
        "login_failed",
        "logout",
        "authorize_application",
        "user_write",
        "model_created",
        "model_updated",
        "model_deleted",
        "password_set",
        "secret_view",
    }
    created = [event.created for event in page.results]
    assert created == sorted(created, reverse=True)
    parsed(models.Event, reply(filled, f"/events/events/{page.results[0].pk}/"))


def test_flows_and_brands(filled: StandIn, models: Any) -> None:
    flows = parsed(models.PaginatedFlowList, reply(filled, "/flows/instances/", slug="recovery"))
    assert isinstance(flows, models.PaginatedFlowList)
    brands = parsed(models.PaginatedBrandList, reply(filled, "/core/brands/"))
    assert isinstance(brands, models.PaginatedBrandList)
    assert brands.results[0].flow_recovery == flows.results[0].pk
    parsed(models.Flow, reply(filled, "/flows/instances/recovery/"))
    parsed(models.Brand, reply(filled, f"/core/brands/{brands.results[0].brand_uuid}/"))


def test_a_recovery_link(filled: StandIn, models: Any) -> None:
    (user,) = filled.results("/core/users/", username="person")
    parsed(models.Link, filled.api("POST", f"/core/users/{user['pk']}/recovery/", {}).json())


def test_errors(filled: StandIn, models: Any) -> None:
    parsed(models.GenericError, filled.http.get("/api/v3/core/users/").json() | {"code": None})
    refused = filled.api("POST", "/core/users/", {"username": "person", "name": ""}).json()
    said = models.ValidationError.from_dict(refused)
    assert said is not None
    assert said.additional_properties == {"username": ["This field must be unique."]}


def test_the_comparison_finds_a_missing_and_an_unknown_member(filled: StandIn, models: Any) -> None:
    user = reply(filled, "/core/users/", username="person")["results"][0]
    for wrong in (
        {name: value for name, value in user.items() if name != "path"},
        user | {"surprise": 1},
        user | {"groups_obj": [{**user["groups_obj"][0], "surprise": 1}]},
        user | {"uuid": None},
    ):
        with pytest.raises(AssertionError):
            parsed(models.User, wrong)


FLOWS = ("default-provider-authorization-implicit-consent", "default-provider-invalidation-flow")


def new_provider(instance: StandIn, name: str, **members: Any) -> dict[str, Any]:
    flows = [instance.results("/flows/instances/", slug=slug)[0]["pk"] for slug in FLOWS]
    body = {"name": name, "authorization_flow": flows[0], "invalidation_flow": flows[1], "redirect_uris": [], **members}
    answer = instance.api("POST", "/providers/oauth2/", body)
    assert answer.status_code == 201, answer.text
    provider: dict[str, Any] = answer.json()
    return provider


def test_applications_and_providers(filled: StandIn, models: Any) -> None:
    parsed(models.PaginatedOAuth2ProviderList, reply(filled, "/providers/oauth2/"))
    parsed(models.PaginatedApplicationList, reply(filled, "/core/applications/"))
    provider = new_provider(filled, "another")
    parsed(models.OAuth2Provider, provider)
    # What is not said is nothing: the original then refuses every token request.
    assert (provider["grant_types"], provider["signing_key"]) == ([], None)
    body = {"name": "Another", "slug": "another", "provider": provider["pk"]}
    application = filled.api("POST", "/core/applications/", body).json()
    parsed(models.Application, application)
    assert application["pk"] == application["pbm_uuid"]
    path = f"/providers/oauth2/{provider['pk']}/"
    change = {"redirect_uris": [{"matching_mode": "strict", "url": "https://a.example/"}]}
    changed = filled.api("PATCH", path, change).json()
    parsed(models.OAuth2Provider, changed)
    assert changed["assigned_application_slug"] == "another"
    assert filled.api("POST", "/core/applications/", body | {"slug": "third"}).status_code == 400
    assert filled.api("DELETE", path).status_code == 204
    assert reply(filled, "/core/applications/another/")["provider"] is None
    assert filled.api("DELETE", "/core/applications/another/").status_code == 204


def test_scope_mappings_key_pairs_and_bindings(filled: StandIn, models: Any) -> None:
    page = parsed(models.PaginatedScopeMappingList, reply(filled, "/propertymappings/provider/scope/"))
    assert isinstance(page, models.PaginatedScopeMappingList)
    assert {mapping.scope_name for mapping in page.results} == {"openid", "profile", "email", "offline_access"}
    managed = "goauthentik.io/providers/oauth2/scope-openid"
    (openid,) = reply(filled, "/propertymappings/provider/scope/", managed=managed)["results"]
    parsed(models.ScopeMapping, openid)
    pairs = parsed(
        models.PaginatedCertificateKeyPairList, reply(filled, "/crypto/certificatekeypairs/", has_key="true")
    )
    assert isinstance(pairs, models.PaginatedCertificateKeyPairList)
    assert [pair.name for pair in pairs.results] == ["authentik Self-signed Certificate"]
    operator = reply(filled, "/core/applications/dezky-operator/")
    bindings = parsed(models.PaginatedPolicyBindingList, reply(filled, "/policies/bindings/", target=operator["pk"]))
    assert isinstance(bindings, models.PaginatedPolicyBindingList)
    assert [binding.group_obj.name for binding in bindings.results] == ["dezky-platform-admins"]
    refused = filled.api("POST", "/policies/bindings/", {"target": operator["pk"], "order": 0})
    said = {"non_field_errors": ["One of 'policy', 'group', 'user' must be set."]}
    assert (refused.status_code, refused.json()) == (400, said)


def test_roles_and_permissions(filled: StandIn, models: Any) -> None:
    role = filled.api("POST", "/rbac/roles/", {"name": "readers"}).json()
    parsed(models.Role, role)
    parsed(models.PaginatedRoleList, reply(filled, "/rbac/roles/", name="readers"))
    path = f"/rbac/permissions/assigned_by_roles/{role['pk']}"
    given = {"permissions": ["authentik_core.view_user", "authentik_core.view_group"]}
    for result in filled.api("POST", f"{path}/assign/", given).json():
        parsed(models.PermissionAssignResult, result)
    page = parsed(models.PaginatedPermissionList, reply(filled, "/rbac/permissions/", role=role["pk"]))
    assert isinstance(page, models.PaginatedPermissionList)
    assert {permission.codename for permission in page.results} == {"view_user", "view_group"}
    assert filled.api("PATCH", f"{path}/unassign/", {"permissions": ["authentik_core.view_group"]}).status_code == 204
    assert len(reply(filled, "/rbac/permissions/", role=role["pk"])["results"]) == 1
    numbers = [row["id"] for row in reply(filled, "/rbac/permissions/", codename="view_token_key")["results"]]
    body = {"name": "readers", "role": role["pk"], "permissions": numbers}
    parsed(models.InitialPermissions, filled.api("POST", "/rbac/initial_permissions/", body).json())
    assert filled.api("DELETE", f"/rbac/roles/{role['pk']}/").status_code == 204


def test_service_accounts_and_oneself(filled: StandIn, models: Any) -> None:
    made = filled.api("POST", "/core/users/service_account/", {"name": "robot", "create_group": True}).json()
    parsed(models.UserServiceAccountResponse, made)
    (token,) = filled.results("/core/tokens/", user__username="robot")
    assert (token["identifier"], token["intent"]) == ("service-account-robot-password", "app_password")
    assert filled.token("dezky-portal", {"username": "robot", "appPassword": made["token"]}).status_code == 200
    said = {"non_field_errors": ["A user/group with these details already exists"]}
    again = filled.api("POST", "/core/users/service_account/", {"name": "robot"})
    assert (again.status_code, again.json()) == (400, said)
    parsed(models.UserSelf, reply(filled, "/core/users/me/")["user"])


def test_a_token_for_somebody_else_is_made_by_a_superuser_only(authentik: StandIn) -> None:
    """The original gives the caller a token of their own, and does not say so (core/api/tokens.py)."""
    caller, other = authentik.new_user("caller"), authentik.new_user("other")
    body = {"identifier": "callers", "user": caller["pk"], "expiring": False}
    assert authentik.api("POST", "/core/tokens/", body).json()["user"] == caller["pk"]
    authentik.api("POST", "/core/tokens/callers/set_key/", {"key": "key-of-the-caller"})
    headers = {"Authorization": "Bearer key-of-the-caller"}
    body = {"identifier": "others", "intent": "app_password", "user": other["pk"]}
    made = authentik.http.post("/api/v3/core/tokens/", json=body, headers=headers)
    assert (made.status_code, made.json()["user"]) == (201, caller["pk"])
    assert authentik.http.get("/api/v3/core/tokens/others/view_key/", headers=headers).status_code == 200
    refused = authentik.http.get("/api/v3/core/users/", headers=headers)
    said = {"detail": "You do not have permission to perform this action."}
    assert (refused.status_code, refused.json()) == (403, said)
