"""Signs in to the suite as a tenant's people would, to see whether Authentik lets them.

The probe is a service account per tenant that is put into the tenant's groups and out of them together with its people.
Whoever may see its app password could sign in to the suite as somebody without any data, so it is kept nowhere else.
"""

from __future__ import annotations

from datetime import timedelta

from services.tenant.authentik import Account, Authentik, AuthentikRejected, account_from
from services.tenant.provisioning.access_groups import account_named, ensure_key
from services.tenant.provisioning.remote import NameTaken, RemoteAway, RemoteRefused, refusal_of
from shared.http_client import HttpClient, RemoteUnavailable

DEADLINE = timedelta(seconds=3)


class SuiteProbe:
    """``base_url`` is the root of Authentik; ``client_id`` is the suite's application, bound to the suite's group."""

    def __init__(self, authentik: Authentik, base_url: str, client_id: str) -> None:
        self._authentik = authentik
        self._client_id = client_id
        # Without the API token: the probe is a stranger who knows a user name and a password.
        self._http = HttpClient(base_url, deadline=DEADLINE)

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
        name = _name(slug)
        body = {"username": name, "name": name, "type": "service_account", "path": "dezky/probes", "is_active": True}
        try:
            return account_from(await self._authentik.call("POST", "core/users/", json=body))
        except AuthentikRejected:
            made_meanwhile = await self.find(slug)
            if made_meanwhile is None:
                raise
            return made_meanwhile

    async def remove(self, slug: str) -> bool:
        """Delete the tenant's probe with its password; True if there was one."""
        account = await self.find(slug)
        if account is None:
            return False
        # The password first: of a probe without one nobody can make use, of a password without a probe somebody might.
        await self._authentik.remove_token(_name(slug))
        await self._authentik.remove_account(account.pk)
        return True

    async def signs_in(self, slug: str, account: Account) -> bool:
        """Try to sign in.

        Raises:
            RemoteRefused: Authentik does not know the suite's application. RemoteError: try again later.
        """
        key = await ensure_key(self._authentik, _name(slug), account.pk)
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


def _error_code(body: object) -> str:
    return str(body.get("error", "")) if isinstance(body, dict) else ""
