"""Who is given a token.

Client credentials, in Authentik's three forms:

1. `client_id`, `username`, `password` = an app password of that user. The client secret is not asked for.
2. `client_id`, `client_secret` = base64 of `username:app-password`, for clients that know only this form.
3. `client_id`, `client_secret` = the application's secret: for its service account, made when first used.

`grant_type=password` means the same. `authorization_code` and `refresh_token` ask every client but a public one
for its secret.
Every refusal of a known client is `invalid_grant`.
"""

import hmac
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from uuid import uuid4

from infrastructure.sandbox.authentik.applications import GRANT_TYPES, Application, Applications
from infrastructure.sandbox.authentik.codes import Codes
from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.errors import OAuthError
from infrastructure.sandbox.authentik.forms import ClientAuth
from infrastructure.sandbox.authentik.granted import Granted, known_scopes
from infrastructure.sandbox.authentik.issued import Issued


class Grants:
    """Decides token requests."""

    def __init__(
        self,
        applications: Applications,
        directory: Directory,
        codes: Codes,
        issued: Issued,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._applications = applications
        self._directory = directory
        self._codes = codes
        self._issued = issued
        self._clock = clock

    def decide(self, client: ClientAuth, form: Mapping[str, str]) -> Granted:
        """Raises OAuthError: `invalid_client`, `unsupported_grant_type`, `invalid_grant` or `invalid_scope`."""
        application = self._applications.with_client_id(client.client_id)
        if application is None:
            raise OAuthError("invalid_client")
        grant_type = form.get("grant_type", "")
        if grant_type not in GRANT_TYPES:
            raise OAuthError("unsupported_grant_type")
        if grant_type not in application.grant_types:
            raise OAuthError("invalid_grant")
        match grant_type:
            case "authorization_code":
                granted = self._authorization_code(application, client, form)
            case "refresh_token":
                granted = self._refresh_token(application, client, form)
            case _:
                granted = self._client_credentials(application, client, form)
        self._admit(granted)
        return granted

    def authenticated(self, client: ClientAuth) -> Application | None:
        """The application whose id and secret these are."""
        application = self._applications.with_client_id(client.client_id)
        return application if application is not None and _is_secret(application, client) else None

    def may_enter(self, application: Application, user: User) -> bool:
        """Active, and admitted by the application's bindings."""
        return user.is_active and self._applications.admits(application, user.pk)

    def _authorization_code(self, application: Application, client: ClientAuth, form: Mapping[str, str]) -> Granted:
        if not (application.public or _is_secret(application, client)):
            raise OAuthError("invalid_grant")
        code, redirect_uri = form.get("code", ""), form.get("redirect_uri", "")
        return self._codes.redeem(application, code, redirect_uri, form.get("code_verifier", ""))

    def _refresh_token(self, application: Application, client: ClientAuth, form: Mapping[str, str]) -> Granted:
        """Each refresh token works once; its successor comes with the answer."""
        token = form.get("refresh_token", "")
        row = self._issued.find(token, "refresh")
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        if row is None or user is None or row["revoked"] or row["slug"] != application.slug:
            raise OAuthError("invalid_grant")
        if not (application.public or _is_secret(application, client)):
            raise OAuthError("invalid_grant")
        scopes = tuple(row["scope"].split())
        if not set(form.get("scope", "").split()) <= set(scopes):
            raise OAuthError("invalid_scope")
        self._issued.revoke(token)
        return Granted(
            application,
            user,
            tuple(row["amr"].split()),
            scopes,
            row["auth_time"],
            row["family"],
            sid=row["sid"],
            refreshable=True,
        )

    def _client_credentials(self, application: Application, client: ClientAuth, form: Mapping[str, str]) -> Granted:
        username = form.get("username", "")
        if username:
            return self._fresh(application, self._holder(username, form.get("password", "")), ("pwd",), form)
        if _is_secret(application, client):
            return self._fresh(application, self._service_account(application), (), form)
        try:
            decoded = b64decode(client.client_secret, validate=True).decode()
        except ValueError:
            raise OAuthError("invalid_grant") from None
        username, _, password = decoded.partition(":")
        return self._fresh(application, self._holder(username, password), ("pwd",), form)

    def _fresh(self, application: Application, user: User, amr: tuple[str, ...], form: Mapping[str, str]) -> Granted:
        scopes = known_scopes(form.get("scope", ""), application)
        return Granted(application, user, amr, scopes, int(self._clock()), uuid4().hex)

    def _holder(self, username: str, app_password: str) -> User:
        user = self._directory.user_named(username)
        if user is None or not self._directory.holds_app_password(user, app_password):
            raise OAuthError("invalid_grant")
        return user

    def _service_account(self, application: Application) -> User:
        username = f"ak-{application.name}-client_credentials"
        found = self._directory.user_named(username)
        return found or self._directory.add_user(
            username,
            f"Autogenerated user from application {application.name} (client credentials)",
            "",
            kind="service_account",
            path=f"goauthentik.io/apps/{application.slug}",
        )

    def _admit(self, granted: Granted) -> None:
        if not self.may_enter(granted.application, granted.user):
            raise OAuthError("invalid_grant")


def _is_secret(application: Application, client: ClientAuth) -> bool:
    if application.public:
        return False
    return hmac.compare_digest(client.client_secret.encode(), application.client_secret.encode())
