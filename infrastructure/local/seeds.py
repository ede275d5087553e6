"""Who is who in the demo data (`demo_data.json`), and the file that the stand-in for Authentik starts from."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from infrastructure.local.private_files import write_private_json

SURFACES = ("operator", "portal")
PLATFORM_ADMINS = "dezky-platform-admins"
API_TOKEN = "api-token"
SUITE = "dezky-suite"
AUTHENTIK_OFFSET = 20
STALWART_OFFSET = 21
OCIS_OFFSET = 22
S3_OFFSET = 33
GATEWAY_OFFSET = 0
OPERATOR = "platform operator"
ARCHIVE_BUCKET = "dezky-audit"
WITNESS_BUCKET = "dezky-audit-witness"


_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)


def witness_bucket(environment: Mapping[str, str] = os.environ) -> str:
    """The bucket of the log's witness: another one than always after a restore (docs/backup.md). Raises Obstacle."""
    name = environment.get("DEZKY_WITNESS_BUCKET") or WITNESS_BUCKET
    if not _BUCKET.fullmatch(name):
        raise Obstacle(
            f"DEZKY_WITNESS_BUCKET is {name!r}",
            "Set it to 3 to 63 small letters, digits and hyphens, or leave it out",
        )
    return name


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


def stalwart_file(place: Place) -> Path:
    """The seed of the stand-in for Stalwart."""
    return place.secrets / "stalwart-seed.json"


def ocis_file(place: Place) -> Path:
    """The seed of the stand-in for ownCloud Infinite Scale."""
    return place.secrets / "ocis-seed.json"


def s3_file(place: Place) -> Path:
    """The identities of the object store."""
    return place.secrets / "s3.json"


def s3_key_of_keys(credentials: Credentials) -> str:
    """What the object store encrypts the keys of its objects with: 32 bytes in hexadecimal."""
    return hashlib.sha256(credentials.suite["s3-encryption"].encode()).hexdigest()


def stalwart_key(credentials: Credentials) -> str:
    """The API key of Stalwart, in the form that it gives its keys."""
    return f"API_{credentials.suite['stalwart-api']}"


def write(place: Place, credentials: Credentials) -> None:
    """Writes the seeds of the stand-ins and the object store anew."""
    suite = credentials.suite
    write_private_json(authentik_file(place), _authentik(place, credentials))
    stalwart = {
        "adminUser": "admin@sandbox.example",
        "adminSecret": suite["stalwart-admin"],
        "apiKey": stalwart_key(credentials),
    }
    write_private_json(stalwart_file(place), stalwart)
    issuer_of_suite = f"{place.url(AUTHENTIK_OFFSET)}/application/o/{SUITE}/"
    ocis = {"publicUrl": place.url(OCIS_OFFSET), "tokens": [suite["ocis"]], "issuer": issuer_of_suite}
    write_private_json(ocis_file(place), ocis)
    keys = [{"accessKey": suite["s3-access"], "secretKey": suite["s3-secret"]}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    write_private_json(s3_file(place), {"identities": [{"name": "dezky", "credentials": keys, "actions": actions}]})


def _authentik(place: Place, credentials: Credentials) -> dict[str, Any]:
    """The applications, and the first operator; everybody else is invited."""
    return {
        "publicUrl": place.url(AUTHENTIK_OFFSET),
        "apiToken": credentials.authentik[API_TOKEN],
        "applications": [*(_surface(place, credentials, surface) for surface in SURFACES), _suite(place, credentials)],
        "groups": [PLATFORM_ADMINS, SUITE],
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


def _surface(place: Place, credentials: Credentials, surface: str) -> dict[str, Any]:
    return {
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


def _suite(place: Place, credentials: Credentials) -> dict[str, Any]:
    return {
        "slug": SUITE,
        "name": "Dezky suite",
        "clientId": SUITE,
        "clientSecret": credentials.authentik[SUITE],
        "boundGroup": SUITE,
        "redirectUris": [f"{place.url(OCIS_OFFSET)}/"],
    }
