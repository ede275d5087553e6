"""What a token request was granted."""

from dataclasses import dataclass

from infrastructure.sandbox.authentik.applications import Application
from infrastructure.sandbox.authentik.directory import User

SCOPES = ("openid", "profile", "email", "offline_access")


@dataclass(frozen=True, slots=True)
class Granted:
    """Whom a token is for, in which application, and how (RFC 8176) and when the user was authenticated.

    `sid` is the session of the login page, empty without one. `refreshable` says whether a refresh token may go
    with it. `family` is common to everything that one authorization code led to.
    """

    application: Application
    user: User
    amr: tuple[str, ...]
    scopes: tuple[str, ...]
    auth_time: int
    family: str
    sid: str = ""
    nonce: str = ""
    refreshable: bool = False


def known_scopes(scope: str, application: Application) -> tuple[str, ...]:
    """Scopes that are unknown, or not the application's, are dropped, not refused."""
    return tuple(name for name in dict.fromkeys(scope.split()) if name in SCOPES and name in application.scopes)
