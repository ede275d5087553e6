"""The OIDC applications: one for each surface of the gateway, and one for the suite.

A provider without grant types refuses every token request, and one without a signing key signs with the client's
secret, so both are said. `groups` comes with the shipped scope `profile`.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from infrastructure.bootstrap.authentik.api import Authentik
from infrastructure.bootstrap.reports import ByHand, Outcome, Report
from infrastructure.bootstrap.settings import SURFACES, BootstrapSettings

AUTHORIZATION_FLOW = "default-provider-authorization-implicit-consent"
INVALIDATION_FLOW = "default-provider-invalidation-flow"
SCOPES = ("openid", "profile", "email", "offline_access")
_MANAGED = "goauthentik.io/providers/oauth2/scope-"
_UNORDERED = ("grant_types", "property_mappings", "redirect_uris")


@dataclass(frozen=True, slots=True)
class Application:
    """What is wanted of one; the client id is its slug, too. Without a `secret` the client is public (a browser's).

    `group` is the name of the only group admitted; None admits everybody.
    """

    client_id: str
    name: str
    secret: str | None
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    group: str | None
    logout_redirect_uris: tuple[str, ...] = ()
    logout_uri: str = ""


def of_settings(settings: BootstrapSettings, admins: str, suite_group: str) -> list[Application]:
    """The applications that the settings ask for."""
    wanted = []
    for surface in SURFACES:
        client = settings.clients[surface]
        wanted.append(
            Application(
                client_id=client.client_id,
                name=f"Dezky {surface}",
                secret=client.client_secret.get_secret_value(),
                grant_types=("authorization_code", "refresh_token"),
                redirect_uris=(f"{settings.public_url}/auth/{surface}/callback",),
                group=admins if surface == "operator" else None,
                logout_redirect_uris=(f"{settings.public_url}/",),
                logout_uri=f"{settings.public_url}/auth/{surface}/backchannel-logout",
            )
        )
    if settings.suite_redirect_uris:
        wanted.append(
            Application(
                client_id=settings.suite_client,
                name="Dezky suite",
                secret=None,
                # The tenant service signs its probes in with client credentials.
                grant_types=("authorization_code", "refresh_token", "client_credentials"),
                redirect_uris=settings.suite_redirect_uris,
                group=suite_group,
            )
        )
    return wanted


@dataclass(frozen=True, slots=True)
class Foundations:
    """What a fresh install brings, by id."""

    authorization_flow: str
    invalidation_flow: str
    signing_key: str
    scopes: tuple[str, ...]

    @classmethod
    async def found(cls, authentik: Authentik, signing_key: str) -> Self:
        """Look all of it up. Raises ByHand for what is not there, or not as it is shipped."""
        flows = [await authentik.one("flows/instances/", slug=slug) for slug in (AUTHORIZATION_FLOW, INVALIDATION_FLOW)]
        key = await authentik.one("crypto/certificatekeypairs/", name=signing_key)
        path = "propertymappings/provider/scope/"
        scopes = [await authentik.one(path, managed=f"{_MANAGED}{scope}") for scope in SCOPES]
        named = {
            **dict(zip((f"flow {AUTHORIZATION_FLOW}", f"flow {INVALIDATION_FLOW}"), flows, strict=True)),
            f"key pair {signing_key}": key,
            **dict(zip((f"scope mapping {_MANAGED}{scope}" for scope in SCOPES), scopes, strict=True)),
        }
        if missing := [name for name, found in named.items() if found is None]:
            remedy = "Wait until its worker has applied the shipped blueprints, then run again"
            raise ByHand(f"Authentik has no {', '.join(missing)}", remedy)
        ids = {name: str(found["pk"]) for name, found in named.items() if found}
        cls._require_rsa(signing_key, key or {})
        cls._require_groups(scopes[SCOPES.index("profile")] or {})
        first, second, third, *rest = ids.values()
        return cls(first, second, third, tuple(rest))

    @staticmethod
    def _require_rsa(name: str, key: Mapping[str, Any]) -> None:
        if key.get("key_type") != "rsa" or not key.get("private_key_available"):
            raise ByHand(
                f"The key pair {name} is no RSA key with its private half, and the gateway takes RS256",
                "Name another in BOOTSTRAP_AUTHENTIK_SIGNING_KEY",
            )

    @staticmethod
    def _require_groups(profile: Mapping[str, Any]) -> None:
        if '"groups"' not in profile.get("expression", ""):
            raise ByHand(
                "Authentik's scope profile says nothing of groups, and by those operators are known",
                "Apply the blueprint `System - OAuth2 Provider - Scopes` again at Authentik",
            )


async def settle_application(
    authentik: Authentik, foundations: Foundations, wanted: Application, groups: Mapping[str, str]
) -> AsyncIterator[Report]:
    """Make provider, application and binding be as wanted, and report each. `groups` is ids by name."""
    provider, outcome = await _settle_provider(authentik, foundations, wanted)
    yield Report(f"provider {wanted.client_id}", outcome)
    target, outcome = await _settle_slug(authentik, wanted, provider)
    yield Report(f"application {wanted.client_id}", outcome)
    if wanted.group is not None:
        outcome = await _settle_binding(authentik, target, groups[wanted.group])
        yield Report(f"application {wanted.client_id} admits {wanted.group} only", outcome)


async def _settle_provider(authentik: Authentik, foundations: Foundations, wanted: Application) -> tuple[int, Outcome]:
    body = _provider(foundations, wanted)
    found = await authentik.one("providers/oauth2/", client_id=wanted.client_id)
    if found is None:
        made = await authentik.call("POST", "providers/oauth2/", body)
        return int(made["pk"]), Outcome.MADE
    differs = {name: value for name, value in body.items() if _shape(name, found.get(name)) != _shape(name, value)}
    if not differs:
        return int(found["pk"]), Outcome.OK
    await authentik.call("PATCH", f"providers/oauth2/{found['pk']}/", differs)
    return int(found["pk"]), Outcome.MENDED


def _provider(foundations: Foundations, wanted: Application) -> dict[str, Any]:
    uris = [(url, "authorization") for url in wanted.redirect_uris]
    uris += [(url, "logout") for url in wanted.logout_redirect_uris]
    secret = {"client_type": "public"} if wanted.secret is None else {"client_secret": wanted.secret}
    return {
        "client_type": "confidential",
        **secret,
        "name": wanted.name,
        "client_id": wanted.client_id,
        "authorization_flow": foundations.authorization_flow,
        "invalidation_flow": foundations.invalidation_flow,
        "signing_key": foundations.signing_key,
        "property_mappings": list(foundations.scopes),
        "grant_types": list(wanted.grant_types),
        "redirect_uris": [{"matching_mode": "strict", "url": url, "redirect_uri_type": kind} for url, kind in uris],
        "logout_uri": wanted.logout_uri,
        "logout_method": "backchannel",
        # One subject for a person in all applications, one issuer for each application.
        "sub_mode": "hashed_user_id",
        "issuer_mode": "per_provider",
        "include_claims_in_id_token": True,
        "access_code_validity": "minutes=1",
        "access_token_validity": "minutes=5",
        "refresh_token_validity": "days=30",
    }


def _shape(name: str, value: Any) -> Any:
    """A value as it is compared: the order of some lists means nothing."""
    if name not in _UNORDERED or not isinstance(value, list):
        return value
    return sorted(tuple(sorted(each.items())) if isinstance(each, dict) else each for each in value)


async def _settle_slug(authentik: Authentik, wanted: Application, provider: int) -> tuple[str, Outcome]:
    """The application itself; how it is called there is left to whoever renames it."""
    body: dict[str, Any] = {"provider": provider}
    if wanted.group is not None:
        # A binding that somebody adds may then keep people out, but let nobody in.
        body["policy_engine_mode"] = "all"
    path = f"core/applications/{wanted.client_id}/"
    found = await authentik.find(path)
    if found is None:
        named = body | {"name": wanted.name, "slug": wanted.client_id}
        made = await authentik.call("POST", "core/applications/", named)
        return str(made["pbm_uuid"]), Outcome.MADE
    target = str(found["pbm_uuid"])
    if all(found[name] == value for name, value in body.items()):
        return target, Outcome.OK
    await authentik.call("PATCH", path, body)
    return target, Outcome.MENDED


async def _settle_binding(authentik: Authentik, target: str, group: str) -> Outcome:
    found = await authentik.one("policies/bindings/", target=target, group=group)
    # The whole is sent to mend a part: Authentik needs the target to judge any change.
    body = {"target": target, "group": group, "order": 0, "enabled": True, "negate": False}
    if found is None:
        await authentik.call("POST", "policies/bindings/", body)
        return Outcome.MADE
    if found["enabled"] and not found["negate"]:
        return Outcome.OK
    await authentik.call("PATCH", f"policies/bindings/{found['pk']}/", body)
    return Outcome.MENDED
