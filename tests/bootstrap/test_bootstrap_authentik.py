"""Authentik, made ready by the job: read independently, by the administrator's API and by signing in."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from infrastructure.bootstrap.authentik import settle
from infrastructure.bootstrap.reports import ByHand, NotReady
from infrastructure.bootstrap.settings import BootstrapSettings
from infrastructure.sandbox.authentik.app import build
from infrastructure.sandbox.authentik.seed import Seed
from services.tenant.authentik import Authentik as TenantAuthentik
from services.tenant.provisioning.suite_probe import SuiteProbe
from tests.bootstrap.running import is_settled, outcomes, steps
from tests.sandbox.authentik.browser import Inputs

ADMIN = "token-of-the-administrator"
URL = "http://authentik.example"
PUBLIC = "https://dezky.example"
SECRETS = {
    "TENANT_AUTHENTIK_TOKEN": "token-of-the-tenant-service-000001",
    "AUDIT_AUTHENTIK_TOKEN": "token-of-the-audit-service-0000001",
    "BOOTSTRAP_OPERATOR_PASSWORD": "password-of-the-first-operator",
    "operator": "secret-of-the-operator-application",
    "portal": "secret-of-the-portal-application",
}
LISTS = (
    *("core/groups/", "core/applications/", "core/users/", "core/tokens/", "providers/oauth2/"),
    *("policies/bindings/", "rbac/roles/", "rbac/initial_permissions/"),
)
# What an administrator's look at a thing changes, and what is counted or dated.
_MOVING = {"last_login", "last_updated", "password_change_date", "date_joined", "avatar"}


class Instance:
    """A fresh Authentik in this process, and an administrator's look at it."""

    def __init__(self, state: Path, key: bytes) -> None:
        state.mkdir()
        (state / "signing-key.pem").write_bytes(key)
        seed = Seed.model_validate({"apiToken": ADMIN, "publicUrl": URL, "applications": []})
        self.transport = httpx.ASGITransport(build(state, seed))
        self.http = httpx.AsyncClient(transport=self.transport, base_url=URL)

    async def api(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return await self.http.request(method, f"/api/v3/{path}", json=body, headers=headers)

    async def rows(self, path: str) -> list[dict[str, Any]]:
        answer = await self.api("GET", f"{path}{'&' if '?' in path else '?'}page_size=100")
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["results"]
        return rows

    async def end_state(self) -> dict[str, Any]:
        """All that an administrator sees, and each role's permissions and each token's key."""
        seen: dict[str, Any] = {path: _still(await self.rows(path)) for path in LISTS}
        for role in seen["rbac/roles/"]:
            given = await self.rows(f"rbac/permissions/?role={role['pk']}")
            seen[role["name"]] = {f"{row['app_label']}.{row['codename']}" for row in given}
        for token in seen["core/tokens/"]:
            shown = await self.api("GET", f"core/tokens/{token['identifier']}/view_key/")
            seen[token["identifier"]] = shown.json()["key"]
        return seen

    async def settle(self, settings: BootstrapSettings, stop_after: int | None = None) -> list[Any]:
        return await steps(settle(settings, self.transport), stop_after)


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _still(member) for name, member in value.items() if name not in _MOVING}
    return [_still(member) for member in value] if isinstance(value, list) else value


def settings(**changed: str) -> BootstrapSettings:
    clients = {
        surface: {"clientId": f"dezky-{surface}", "clientSecret": SECRETS[surface]}
        for surface in ("operator", "portal")
    }
    environment = {
        "BOOTSTRAP_WAIT_SECONDS": "5",
        "BOOTSTRAP_AUTHENTIK_URL": URL,
        "BOOTSTRAP_AUTHENTIK_TOKEN": ADMIN,
        "GATEWAY_PUBLIC_URL": PUBLIC,
        "GATEWAY_SIGN_IN": clients,
        "BOOTSTRAP_SUITE_REDIRECT_URIS": "https://files.example/,https://files.example/oidc-callback.html",
        "BOOTSTRAP_OPERATOR_EMAIL": "first@dezky.example",
        **{name: value for name, value in SECRETS.items() if name.isupper()},
    }
    return BootstrapSettings.model_validate(environment | changed)


@pytest.fixture(scope="module")
def key() -> bytes:
    """A signing key for all instances: to draw one takes longer than most tests here."""
    return RSAKey.generate_key(2048, private=True).as_pem(private=True)


@pytest.fixture
async def instance(tmp_path: Path, key: bytes) -> AsyncIterator[Instance]:
    made = Instance(tmp_path / "state", key)
    yield made
    await made.http.aclose()


async def sign_in(instance: Instance, surface: str, username: str) -> httpx.Response:
    """The login page, as a browser sees it: the answer that it is sent on with, or the refusal."""
    query = {
        "client_id": f"dezky-{surface}",
        "redirect_uri": f"{PUBLIC}/auth/{surface}/callback",
        "response_type": "code",
        "scope": "openid profile email offline_access",
        "state": "s",
    }
    asked = await instance.http.get("/application/o/authorize/", params=query)
    form = {"username": username, "password": SECRETS["BOOTSTRAP_OPERATOR_PASSWORD"]}
    page = await instance.http.get(asked.headers["location"])
    form["csrf"] = Inputs(page.text).inputs["csrf"]["value"] or ""
    signed_in = await instance.http.post(asked.headers["location"], data=form)
    if "location" not in signed_in.headers:
        return signed_in
    return await instance.http.get(signed_in.headers["location"])


async def test_a_run_that_dies_after_any_step_is_completed_by_the_next_and_another_changes_nothing(
    instance: Instance,
) -> None:
    wanted = settings()
    number = 0
    while True:
        number += 1
        done = outcomes(await instance.settle(wanted, stop_after=number))
        if len(done) < number:
            break
        assert done[:-1] == [kept for kept in done[:-1] if kept in {"ok", "made"}]
    seen = await instance.end_state()
    assert is_settled(await instance.settle(wanted))
    assert await instance.end_state() == seen
    assert number > 25


async def test_an_uninterrupted_run_ends_where_an_interrupted_one_does(
    instance: Instance, tmp_path: Path, key: bytes
) -> None:
    other = Instance(tmp_path / "other", key)
    await instance.settle(settings())
    for stop_after in (4, 9, 15, 20, 23):
        await other.settle(settings(), stop_after)
    await other.settle(settings())

    def named(state: dict[str, Any]) -> dict[str, Any]:
        """Without what each instance draws by lot."""
        names = {path: [row.get("name") or row.get("identifier") for row in state[path]] for path in LISTS[:5]}
        return names | {name: state[name] for name in ("dezky-tenant", "dezky-audit", "dezky-tenant-api")}

    assert named(await other.end_state()) == named(await instance.end_state())
    await other.http.aclose()


async def test_the_end_state_is_what_the_platform_needs(instance: Instance) -> None:
    await instance.settle(settings())
    (operator,) = await instance.rows("providers/oauth2/?client_id=dezky-operator")
    assert operator["grant_types"] == ["authorization_code", "refresh_token"]
    assert operator["client_secret"] == SECRETS["operator"]
    (key,) = await instance.rows("crypto/certificatekeypairs/")
    assert operator["signing_key"] == key["pk"]
    assert [(uri["matching_mode"], uri["url"], uri["redirect_uri_type"]) for uri in operator["redirect_uris"]] == [
        ("strict", f"{PUBLIC}/auth/operator/callback", "authorization"),
        ("strict", f"{PUBLIC}/", "logout"),
    ]
    assert operator["logout_uri"] == f"{PUBLIC}/auth/operator/backchannel-logout"
    scopes = {row["pk"]: row["scope_name"] for row in await instance.rows("propertymappings/provider/scope/")}
    assert {scopes[pk] for pk in operator["property_mappings"]} == {"openid", "profile", "email", "offline_access"}
    applications = {row["slug"]: row for row in await instance.rows("core/applications/")}
    bound = {row["target"]: row["group_obj"]["name"] for row in await instance.rows("policies/bindings/")}
    assert {slug: bound.get(row["pbm_uuid"]) for slug, row in applications.items()} == {
        "dezky-operator": "dezky-platform-admins",
        "dezky-portal": None,
        "dezky-suite": "dezky-suite",
    }


async def test_the_first_operator_signs_in_where_others_are_kept_out(instance: Instance) -> None:
    await instance.settle(settings())
    answer = await sign_in(instance, "operator", "first@dezky.example")
    assert answer.headers["location"].startswith(f"{PUBLIC}/auth/operator/callback?code=")
    code = answer.headers["location"].partition("code=")[2].partition("&")[0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"{PUBLIC}/auth/operator/callback",
        "client_id": "dezky-operator",
        "client_secret": SECRETS["operator"],
    }
    tokens = (await instance.http.post("/application/o/token/", data=form)).json()
    shown = await instance.http.get(
        "/application/o/userinfo/", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert shown.json()["groups"] == ["dezky-platform-admins"]
    assert "refresh_token" in tokens


async def test_who_is_no_operator_does_not_enter_the_operators_application(instance: Instance) -> None:
    await instance.settle(settings())
    user = (await instance.api("POST", "core/users/", {"username": "m@acme.example", "name": "M"})).json()
    password = {"password": SECRETS["BOOTSTRAP_OPERATOR_PASSWORD"]}
    await instance.api("POST", f"core/users/{user['pk']}/set_password/", password)
    refused = await sign_in(instance, "operator", "m@acme.example")
    assert "location" not in refused.headers
    instance.http.cookies.clear()
    admitted = await sign_in(instance, "portal", "m@acme.example")
    assert admitted.headers["location"].startswith(f"{PUBLIC}/auth/portal/callback?code=")


DRIFTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("providers/oauth2/?client_id=dezky-operator", {"grant_types": []}),
    ("providers/oauth2/?client_id=dezky-operator", {"signing_key": None}),
    ("providers/oauth2/?client_id=dezky-portal", {"property_mappings": []}),
    ("providers/oauth2/?client_id=dezky-portal", {"redirect_uris": [{"matching_mode": "regex", "url": "https://.*"}]}),
    ("core/applications/?slug=dezky-operator", {"policy_engine_mode": "any"}),
    ("policies/bindings/?page=1", {"enabled": False}),
    ("core/groups/?name=dezky-platform-admins", {"is_superuser": True}),
    ("core/users/?username=dezky-audit", {"roles": [], "is_active": False}),
)


async def test_what_drifted_is_mended_and_nothing_else_is_touched(instance: Instance) -> None:
    await instance.settle(settings())
    seen = await instance.end_state()
    for path, change in DRIFTS:
        row = (await instance.rows(path))[0]
        where = path.partition("?")[0] + str(row["slug"] if "applications" in path else row["pk"]) + "/"
        assert (await instance.api("PATCH", where, change)).status_code == 200
        assert await instance.end_state() != seen, path
        assert outcomes(await instance.settle(settings())).count("mended") == 1, path
        assert await instance.end_state() == seen, path


async def test_a_role_with_too_many_rights_loses_them(instance: Instance) -> None:
    await instance.settle(settings())
    seen = await instance.end_state()
    (role,) = await instance.rows("rbac/roles/?name=dezky-audit")
    more = {"permissions": ["authentik_core.delete_user", "authentik_core.set_token_key"]}
    path = f"rbac/permissions/assigned_by_roles/{role['pk']}/assign/"
    assert (await instance.api("POST", path, more)).status_code == 200
    assert outcomes(await instance.settle(settings())).count("mended") == 1
    assert await instance.end_state() == seen


async def test_a_services_token_does_what_the_service_does_and_nothing_beside_it(instance: Instance) -> None:
    await instance.settle(settings())
    tenant, audit = SECRETS["TENANT_AUTHENTIK_TOKEN"], SECRETS["AUDIT_AUTHENTIK_TOKEN"]
    made = await instance.api("POST", "core/users/", {"username": "p@acme.example", "name": "P"}, tenant)
    assert made.status_code == 201
    user = made.json()["pk"]
    group = (await instance.api("POST", "core/groups/", {"name": "dezky-tenant-acme"}, tenant)).json()["pk"]
    for path, body in (
        (f"core/users/{user}/set_password/", {"password": "a-password"}),
        (f"core/groups/{group}/add_user/", {"pk": user}),
        (f"core/groups/{group}/remove_user/", {"pk": user}),
    ):
        assert (await instance.api("POST", path, body, tenant)).status_code == 204
    assert (await instance.api("GET", "events/events/", token=audit)).status_code == 200
    assert (await instance.api("DELETE", f"core/users/{user}/", token=tenant)).status_code == 204
    refused = [
        *(("GET", "providers/oauth2/", tenant), ("GET", "events/events/", tenant), ("GET", "core/users/", audit)),
        *(("POST", "core/groups/", audit), ("PATCH", "core/applications/dezky-operator/", tenant)),
        *(("GET", "core/tokens/dezky-audit-api/view_key/", tenant), ("POST", "rbac/roles/", tenant)),
        *(("POST", "core/tokens/dezky-audit-api/set_key/", tenant), ("POST", "policies/bindings/", tenant)),
    ]
    for method, path, token in refused:
        assert (await instance.api(method, path, {} if method != "GET" else None, token)).status_code == 403, path


async def test_the_tenant_services_probe_signs_in_under_the_tenant_services_token(instance: Instance) -> None:
    await instance.settle(settings())
    token = SECRETS["TENANT_AUTHENTIK_TOKEN"]
    authentik = TenantAuthentik(URL, token, transport=instance.transport)
    probe = SuiteProbe(authentik, URL, "dezky-suite", transport=instance.transport)
    account = await probe.create("acme")
    assert not await probe.signs_in("acme", account)
    await authentik.join(account.pk, "dezky-suite")
    assert await probe.signs_in("acme", account)
    assert await probe.remove("acme")
    assert not [row for row in await instance.rows("core/tokens/") if "acme" in row["identifier"]]
    await probe.close()
    await authentik.close()


async def test_the_first_operator_is_never_given_a_password_or_the_group_twice(instance: Instance) -> None:
    await instance.settle(settings())
    (user,) = await instance.rows("core/users/?username=first@dezky.example")
    for path, body in (
        (f"core/users/{user['pk']}/set_password/", {"password": "their own"}),
        (f"core/groups/{user['groups'][0]}/remove_user/", {"pk": user["pk"]}),
    ):
        await instance.api("POST", path, body)
    with pytest.raises(ByHand, match="nobody who is active is in the operators' group"):
        await instance.settle(settings(BOOTSTRAP_OPERATOR_PASSWORD="password-of-the-second-run"))
    (after,) = await instance.rows("core/users/?username=first@dezky.example")
    assert after["groups"] == []
    answer = await sign_in(instance, "portal", "first@dezky.example")
    assert "location" not in answer.headers or "code=" not in answer.headers["location"]


async def test_without_a_password_they_get_a_link_in_a_file_of_their_own(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "link"
    wanted = settings(BOOTSTRAP_OPERATOR_PASSWORD="", BOOTSTRAP_OPERATOR_LINK_FILE=str(file))
    with pytest.raises(ByHand, match="no recovery flow"):
        await instance.settle(wanted)
    flow = {"name": "Recovery", "slug": "recovery", "title": "Recovery", "designation": "recovery"}
    pk = (await instance.api("POST", "flows/instances/", flow)).json()["pk"]
    (brand,) = await instance.rows("core/brands/")
    await instance.api("PATCH", f"core/brands/{brand['brand_uuid']}/", {"flow_recovery": pk})
    said = [report.step for report in await instance.settle(wanted)]
    assert f"recovery link of the first operator, in {file}" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    link = file.read_text().strip()
    assert link not in " ".join(said)
    assert (await instance.http.get(link)).status_code == 200
    file.unlink()
    assert is_settled(await instance.settle(wanted))
    assert not file.exists()


async def test_a_token_of_somebody_else_is_refused_before_anything_is_made(instance: Instance) -> None:
    await instance.settle(settings())
    seen = await instance.end_state()
    with pytest.raises(ByHand, match="who is no superuser"):
        await instance.settle(settings(BOOTSTRAP_AUTHENTIK_TOKEN=SECRETS["TENANT_AUTHENTIK_TOKEN"]))
    with pytest.raises(NotReady, match="it does not know the token"):
        await instance.settle(settings(BOOTSTRAP_AUTHENTIK_TOKEN="wrong", BOOTSTRAP_WAIT_SECONDS="0.1"))
    assert await instance.end_state() == seen


async def test_nothing_that_is_said_holds_a_secret(instance: Instance) -> None:
    said = json.dumps([report.step for report in await instance.settle(settings())])
    assert [secret for secret in (*SECRETS.values(), ADMIN) if secret in said] == []
