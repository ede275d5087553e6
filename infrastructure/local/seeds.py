"""Who is who in the demo data (`demo_data.json`), and the file that the stand-in for Authentik starts from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place
from infrastructure.local.private_files import write_private_json

SURFACES = ("operator", "portal")
PLATFORM_ADMINS = "dezky-platform-admins"
API_TOKEN = "api-token"
AUTHENTIK_OFFSET = 20
GATEWAY_OFFSET = 0
OPERATOR = "platform operator"


@dataclass(frozen=True)
class DemoPerson:
    """Somebody of the demo data; the user name is the e-mail address, `place` what they are, in words."""

    username: str
    name: str
    place: str


def demo_data() -> dict[str, Any]:
    """The demo data as written."""
    rows: dict[str, Any] = json.loads(Path(__file__).with_name("demo_data.json").read_text(encoding="utf-8"))
    return rows


def demo_people() -> list[DemoPerson]:
    """Everybody of the demo data, operators first."""
    data = demo_data()
    people = [DemoPerson(row["username"], row["name"], OPERATOR) for row in data["operators"]]
    for kind in ("partner", "tenant"):
        for scope in data[f"{kind}s"]:
            people += [
                DemoPerson(row["username"], row["name"], f"{row['role']} of {kind} {scope['slug']}")
                for row in scope.get("people", [])
            ]
    return people


def client_id(surface: str) -> str:
    """The identity provider's application for a surface; also its slug and the audience of its tokens."""
    return f"dezky-{surface}"


def issuer(place: Place, surface: str) -> str:
    """The issuer of a surface, with the trailing slash that Authentik gives it."""
    return f"{place.url(AUTHENTIK_OFFSET)}/application/o/{client_id(surface)}/"


def callback(place: Place, surface: str) -> str:
    """Where the browser comes back to after a sign-in."""
    return f"{place.url(GATEWAY_OFFSET)}/auth/{surface}/callback"


def authentik_file(place: Place) -> Path:
    """The seed of the stand-in for Authentik; it holds passwords."""
    return place.secrets / "authentik-seed.json"


def write(place: Place, credentials: Credentials) -> None:
    """Writes the stand-in's seed anew."""
    write_private_json(authentik_file(place), _authentik(place, credentials))


def _authentik(place: Place, credentials: Credentials) -> dict[str, Any]:
    """The applications, and the first operator; everybody else is invited."""
    return {
        "publicUrl": place.url(AUTHENTIK_OFFSET),
        "apiToken": credentials.authentik[API_TOKEN],
        "applications": [
            {
                "slug": client_id(surface),
                "name": f"Dezky {surface}",
                "clientId": client_id(surface),
                "clientSecret": credentials.authentik[client_id(surface)],
                # Nobody is kept out at the door: who is no operator shall meet the platform's own refusal.
                "boundGroup": None,
                "redirectUris": [callback(place, surface)],
                "postLogoutRedirectUris": [f"{place.url(GATEWAY_OFFSET)}/"],
                "backchannelLogoutUri": f"{place.url(GATEWAY_OFFSET)}/auth/{surface}/backchannel-logout",
            }
            for surface in SURFACES
        ],
        "groups": [PLATFORM_ADMINS],
        "users": [
            {
                "username": row["username"],
                "email": row["username"],
                "name": row["name"],
                "groups": [PLATFORM_ADMINS],
                "password": credentials.people[row["username"]].password,
                "appPassword": credentials.people[row["username"]].app_password,
            }
            for row in demo_data()["operators"]
        ],
    }
