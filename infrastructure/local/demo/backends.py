"""What the suite's backends really hold, looked at from outside the platform."""

import base64
import json
from typing import Any
from urllib.parse import quote

import httpx

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place

JMAP = ("urn:ietf:params:jmap:core", "urn:stalwart:jmap")
_APP_PASSWORD = "app-password-of-the-demo-member"


class Backends:
    """The identity provider, mail and files, with an administrator's eyes."""

    def __init__(self, place: Place, credentials: Credentials) -> None:
        self._place = place
        token = credentials.authentik[seeds.API_TOKEN]
        self._authentik = self._client(seeds.AUTHENTIK_OFFSET, f"Bearer {token}")
        self._stalwart = self._client(seeds.STALWART_OFFSET, f"Bearer {seeds.stalwart_key(credentials)}")
        self._ocis = self._client(seeds.OCIS_OFFSET, f"Bearer {credentials.suite['ocis']}")
        self._stranger = httpx.Client(timeout=20, trust_env=False)

    def close(self) -> None:
        for client in (self._authentik, self._stalwart, self._ocis, self._stranger):
            client.close()

    def held(self, tenant: str) -> dict[str, bool]:
        """Tell what each backend holds of a tenant."""
        groups = self._authentik.get("/api/v3/core/groups/", params={"search": tenant}).json()["results"]
        drives = self._ocis.get("/graph/v1.0/drives").json()["value"]
        return {
            "group": any(group["name"].endswith(tenant) for group in groups),
            "domain": self._in_mail("Domain", f"{tenant}.example"),
            "space": any(drive["name"] == tenant for drive in drives),
        }

    def held_of_person(self, email: str) -> dict[str, bool]:
        """Tell what each backend holds of a person of a tenant."""
        accounts = self._authentik.get("/api/v3/core/users/", params={"username": email}).json()["results"]
        files = self._ocis.get(f"/graph/v1.0/users/{quote(email)}")
        if files.status_code not in {200, 404}:
            raise httpx.HTTPError(f"files answered {files.status_code}")
        return {
            "account": bool(accounts),
            "mailbox": self._in_mail("Account", email.partition("@")[0]),
            "user of files": files.status_code == httpx.codes.OK,
        }

    def _in_mail(self, kind: str, name: str) -> bool:
        query = [f"x:{kind}/query", {"filter": {"name": name}}, "0"]
        answer = self._stalwart.post("/jmap", json={"using": JMAP, "methodCalls": [query]}).json()
        return bool(answer["methodResponses"][0][1]["ids"])

    def may_use_suite(self, username: str) -> bool:
        """Tell whether somebody signs in to the suite: the identity provider lets them, and files know them."""
        users = self._authentik.get("/api/v3/core/users/", params={"username": username}).json()["results"]
        if not users:
            return False
        self._give_app_password(users[0]["pk"])
        form = {
            "grant_type": "client_credentials",
            "client_id": seeds.SUITE,
            "username": username,
            "password": _APP_PASSWORD,
            "scope": "openid profile email",
        }
        url = f"{self._place.url(seeds.AUTHENTIK_OFFSET)}/application/o/token/"
        answer = self._stranger.post(url, data=form)
        if not answer.is_success:
            return False
        token = answer.json()["access_token"]
        me = self._stranger.get(
            f"{self._place.url(seeds.OCIS_OFFSET)}/graph/v1.0/me", headers={"Authorization": f"Bearer {token}"}
        )
        return me.is_success and claims_of(token)["preferred_username"] == username

    def _give_app_password(self, pk: int) -> None:
        identifier = f"demo-suite-{pk}"
        tokens = self._authentik.get("/api/v3/core/tokens/", params={"identifier": identifier}).json()["results"]
        if not tokens:
            token = {"identifier": identifier, "intent": "app_password", "user": pk, "expiring": False}
            self._authentik.post("/api/v3/core/tokens/", json=token)
            self._authentik.post(f"/api/v3/core/tokens/{identifier}/set_key/", json={"key": _APP_PASSWORD})

    def _client(self, offset: int, authorization: str) -> httpx.Client:
        # A backend that was just killed is asked again: the demo tells of the platform, not of its stand-ins.
        transport = httpx.HTTPTransport(retries=5)
        headers = {"Authorization": authorization}
        return httpx.Client(
            base_url=self._place.url(offset), headers=headers, timeout=20, trust_env=False, transport=transport
        )


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token, unverified: it was just given to us."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
