"""Claims and signatures of the tokens.

Access and ID tokens are both JWTs of type `JWT` and carry the same claims; only an access token has `azp`,
`uid` and `scope`, and `scope` is how to tell them apart.
"""

import secrets
import time
from collections.abc import Callable

from joserfc import jwt

from infrastructure.sandbox.authentik.applications import Application
from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.keys import InstanceKeys

ACCESS_TOKEN_SECONDS = 300
SCOPES = ("openid", "profile", "email", "offline_access")
ACR = "goauthentik.io/providers/oauth2/default"


class Tokens:
    """The tokens of one instance, whose address `public_url` (no trailing slash) begins every issuer."""

    def __init__(
        self,
        keys: InstanceKeys,
        directory: Directory,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._directory = directory
        self._public_url = public_url
        self._clock = clock

    def issuer(self, application: Application) -> str:
        """Each application is an issuer of its own; the trailing slash is part of the name."""
        return f"{self._public_url}/application/o/{application.slug}/"

    def jwks(self) -> dict[str, list[dict[str, object]]]:
        """The public half of the signing key as an RFC 7517 key set."""
        return {"keys": [dict(self._keys.signing.as_dict(private=False))]}

    def respond(self, application: Application, user: User, scope: str, amr: list[str]) -> dict[str, object]:
        """The successful answer of the token endpoint. Unknown scopes are dropped, not refused."""
        granted = [name for name in dict.fromkeys(scope.split()) if name in SCOPES]
        claims = self._claims(application, user, granted, amr)
        access = {
            **claims,
            "azp": application.client_id,
            "uid": secrets.token_hex(20),
            "scope": " ".join(granted),
        }
        return {
            "access_token": self._sign(access),
            "token_type": "Bearer",
            "scope": " ".join(granted),
            "expires_in": ACCESS_TOKEN_SECONDS,
            "id_token": self._sign(claims),
        }

    def _claims(self, application: Application, user: User, scopes: list[str], amr: list[str]) -> dict[str, object]:
        now = int(self._clock())
        claims: dict[str, object] = {
            "iss": self.issuer(application),
            "sub": user.uid,
            "aud": application.client_id,
            "exp": now + ACCESS_TOKEN_SECONDS,
            "iat": now,
            "auth_time": now,
            "acr": ACR,
        }
        if amr:
            claims["amr"] = amr
        if "email" in scopes:
            claims |= {"email": user.email, "email_verified": False}
        if "profile" in scopes:
            # The original knows no first and last names: the full name serves as the given name.
            claims |= {
                "name": user.name,
                "given_name": user.name,
                "preferred_username": user.username,
                "nickname": user.username,
                "groups": self._directory.group_names_of(user),
            }
        return claims

    def _sign(self, claims: dict[str, object]) -> str:
        key = self._keys.signing
        return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": key.kid}, claims, key, algorithms=["RS256"])
