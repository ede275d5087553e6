"""Signs in to the suite as a tenant's people would, to see whether Authentik lets them.

The probe is a service account per tenant that is put into the tenant's groups and out of them together with its people.
Whoever may see its app password could sign in to the suite as somebody without any data, so it is kept nowhere else.
It is made together with its password: only a superuser of Authentik makes a password for an account that is there.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from services.tenant.authentik import Account, Authentik, AuthentikAway, AuthentikRejected
from services.tenant.provisioning.access_groups import account_named, key_of
from services.tenant.provisioning.remote import NameTaken, RemoteAway, RemoteRefused, refusal_of
from shared.http_client import HttpClient, RemoteUnavailable

DEADLINE = timedelta(seconds=3)


class SuiteProbe:
    """``base_url`` is the root of Authentik; ``client_id`` is the suite's application, bound to the suite's group."""

    def __init__(self, authentik: Authentik, base_url: str, client_id: str, *, transport: Any = None) -> None:
        self._authentik = authentik
        self._client_id = client_id
        # Without the API token: the probe is a stranger who knows a user name and a password.
        self._http = HttpClient(base_url, deadline=DEADLINE, transport=transport)

    async def find(self, slug: str) -> Account | None:
        """Return the tenant's probe.

        Raises:
            NameTaken: somebody else has its user name. AuthentikError: try again later.
        """
        account = await account_named(self._authentik, _name(slug))
        if account is not None and account.ordinary:
            raise NameTaken(f"a person has the user name {_name(slug)}: rename them at Authentik")
        return account

    async def create(self, slug: str) -> Account:
        """Return a new probe, or the one that was made meanwhile."""
        body = {"name": _name(slug), "create_group": False, "expiring": False}
        refusal: AuthentikRejected | None = None
        try:
            await self._authentik.call("POST", "core/users/service_account/", json=body)
        except AuthentikRejected as refused:
            refusal = refused
        made = await self.find(slug)
        if made is None:
            raise refusal or AuthentikAway("the probe is not there, though it has just been made")
        return made

    async def remove(self, slug: str) -> bool:
        """Delete the tenant's probe with its password; True if there was one."""
        account = await self.find(slug)
        if account is None:
            return False
        await self._authentik.remove_account(account.pk)
        return True

    async def signs_in(self, slug: str, account: Account) -> bool:
        """Try to sign in.

        Raises:
            RemoteRefused: Authentik does not know the suite's application. RemoteError: try again later.
        """
        key = await key_of(self._authentik, _password(slug))
        if key is None:
            # A probe without its password is of no use; the next pass makes one that has it.
            await self._authentik.remove_account(account.pk)
            return False
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "username": account.username,
            "password": key,
            "scope": "openid",
        }
        try:
            answer = await self._http.request("POST", "/application/o/token/", data=form)
        except RemoteUnavailable as error:
            raise RemoteAway(error.detail) from error
        if answer.is_success:
            return True
        code = _error_code(answer.content and answer.json())
        if answer.status_code == 400 and code == "invalid_grant":
            return False
        if code == "invalid_client":
            raise RemoteRefused("no_suite_application", f"make an application with the client id {self._client_id}")
        raise refusal_of(answer) or RemoteAway(f"a sign-in was answered with {answer.status_code}")

    async def close(self) -> None:
        await self._http.close()


def _name(slug: str) -> str:
    return f"dezky-probe-{slug}"


def _password(slug: str) -> str:
    """The name that Authentik gives the password of a service account: Django's slug of it."""
    return re.sub(r"-+", "-", f"service-account-{_name(slug)}-password")


def _error_code(body: object) -> str:
    return str(body.get("error", "")) if isinstance(body, dict) else ""
