"""The demo people: who they are (`seed_people.json`), and the two files that the fleet starts from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place
from infrastructure.local.private_files import write_private_json

SURFACES = ("operator", "portal")
PLATFORM_ADMINS = "dezky-platform-admins"
PARTNER_STAFF = "dezky-partner-staff"
API_TOKEN = "api-token"
AUTHENTIK_OFFSET = 20


@dataclass(frozen=True)
class DemoPerson:
    """One row of `seed_people.json`; the user name is the e-mail address."""

    username: str
    name: str
    platform_admin: bool
    partner: dict[str, str] | None

    @property
    def groups(self) -> list[str]:
        """The identity provider's groups that go with the person's place."""
        admin = [PLATFORM_ADMINS] if self.platform_admin else []
        return admin + ([PARTNER_STAFF] if self.partner else [])

    @property
    def place(self) -> str:
        """What the person is, in words."""
        if self.platform_admin:
            return "platform operator"
        return f"{self.partner['role']} of partner {self.partner['slug']}" if self.partner else "customer"


def _rows() -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(__file__).with_name("seed_people.json").read_text(encoding="utf-8"))
    return rows


def demo_people() -> list[DemoPerson]:
    """Everybody that the fleet knows from its first start."""
    return [DemoPerson(row["username"], row["name"], row["platformAdmin"], row["partner"]) for row in _rows()["people"]]


def client_id(surface: str) -> str:
    """The identity provider's application for a surface; also its slug and the audience of its tokens."""
    return f"dezky-{surface}"


def issuer(place: Place, surface: str) -> str:
    """The issuer of a surface, with the trailing slash that Authentik gives it."""
    return f"{place.url(AUTHENTIK_OFFSET)}/application/o/{client_id(surface)}/"


def people_file(place: Place) -> Path:
    """The seed of the tenant service's directory."""
    return place.state / "people.json"


def authentik_file(place: Place) -> Path:
    """The seed of the sandbox identity provider; it holds passwords."""
    return place.secrets / "authentik-seed.json"


def write(place: Place, credentials: Credentials) -> None:
    """Writes both files anew; they agree on the `uid` of everybody."""
    write_private_json(people_file(place), _directory(credentials))
    write_private_json(authentik_file(place), _authentik(place, credentials))


def _directory(credentials: Credentials) -> dict[str, Any]:
    return {
        "partners": _rows()["partners"],
        "people": [
            {
                "identityProvider": "authentik",
                "subject": credentials.people[person.username].uid,
                "email": person.username,
                "name": person.name,
                "partner": person.partner,
                "tenants": {},
            }
            for person in demo_people()
        ],
    }


def _authentik(place: Place, credentials: Credentials) -> dict[str, Any]:
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
                "redirectUris": [],
            }
            for surface in SURFACES
        ],
        "groups": [PLATFORM_ADMINS, PARTNER_STAFF],
        "users": [
            {
                "username": person.username,
                "email": person.username,
                "name": person.name,
                "groups": person.groups,
                "uid": credentials.people[person.username].uid,
                "password": credentials.people[person.username].password,
                "appPassword": credentials.people[person.username].app_password,
            }
            for person in demo_people()
        ],
    }
