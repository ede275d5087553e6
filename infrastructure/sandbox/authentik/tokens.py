"""Claims and signatures of the tokens.

Access and ID tokens are both JWTs of type `JWT` and carry the same claims; only an access token has `azp`,
`uid` and `scope`, and `scope` is how to tell them apart.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError

from infrastructure.sandbox.authentik.applications import Application
from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.granted import Granted
from infrastructure.sandbox.authentik.keys import InstanceKeys

ACCESS_TOKEN_SECONDS = 300
LOGOUT_TOKEN_SECONDS = 120
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
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

    def respond(self, granted: Granted) -> dict[str, object]:
        """The successful answer of the token endpoint, without a refresh token."""
        claims = self._claims(granted)
        scope = " ".join(granted.scopes)
        access = {**claims, "azp": granted.application.client_id, "uid": secrets.token_hex(20), "scope": scope}
        return {
            "access_token": self._sign(access),
            "token_type": "Bearer",
            "scope": scope,
            "expires_in": ACCESS_TOKEN_SECONDS,
            "id_token": self._sign(claims),
        }

    def logout_token(self, application: Application, sub: str, sid: str) -> str:
        """OpenID Connect Back-Channel Logout 1.0, section 2.4; never a `nonce`."""
        now = int(self._clock())
        claims = {
            "iss": self.issuer(application),
            "sub": sub,
            "aud": application.client_id,
            "iat": now,
            "exp": now + LOGOUT_TOKEN_SECONDS,
            "jti": uuid4().hex,
            "events": {LOGOUT_EVENT: {}},
            "sid": sid,
        }
        return self._sign(claims, "logout+jwt")

    def is_ours(self, id_token: str, application: Application) -> bool:
        """True for an ID token of this application, expired ones included (a hint outlives the token)."""
        try:
            claims = jwt.decode(id_token, self._keys.signing, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return False
        return claims.get("iss") == self.issuer(application) and claims.get("aud") == application.client_id

    def person(self, user: User, scopes: tuple[str, ...]) -> dict[str, object]:
        """The claims about a person that the scopes open, as they are now."""
        claims: dict[str, object] = {"sub": user.uid}
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

    def _claims(self, granted: Granted) -> dict[str, object]:
        now = int(self._clock())
        claims: dict[str, object] = {
            "iss": self.issuer(granted.application),
            "aud": granted.application.client_id,
            "exp": now + ACCESS_TOKEN_SECONDS,
            "iat": now,
            "auth_time": granted.auth_time,
            "acr": ACR,
            **self.person(granted.user, granted.scopes),
        }
        if granted.amr:
            claims["amr"] = list(granted.amr)
        if granted.nonce:
            claims["nonce"] = granted.nonce
        if granted.sid:
            claims["sid"] = granted.sid
        return claims

    def _sign(self, claims: Mapping[str, object], kind: str = "JWT") -> str:
        key = self._keys.signing
        return jwt.encode({"alg": "RS256", "typ": kind, "kid": key.kid}, dict(claims), key, algorithms=["RS256"])
