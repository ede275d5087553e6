"""What an identity provider signs for the gateway itself: ID tokens and logout tokens.

Both go through the same strict verification as access tokens; here is only what their own kinds must say.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.authenticator import VerifiedToken
from gateway.claims import audiences, optional_text, required_text
from gateway.providers import Provider
from gateway.token_errors import InvalidClaim, MissingClaim, WrongAudience, WrongTokenType

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ID_TOKEN_TYPES = frozenset({None, "jwt"})
_LOGOUT_TOKEN_TYPES = frozenset({None, "jwt", "logout+jwt"})


class Verifies(Protocol):
    """Verifies the tokens of the configured providers."""

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """Return whom an access token speaks of, or raise ``TokenError`` or ``KeysUnavailable``."""
        ...

    async def claims_of(self, token: bytes, provider: Provider) -> tuple[str | None, dict[str, Any]]:
        """Return type and claims of another token of ``provider``, or raise likewise."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in, by an ID token; ``provider_session`` is its ``sid``."""

    subject: str
    provider_session: str | None


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions are to end, by a logout token: a person's, those of one session at the provider, or both.

    ``issued_at`` is in seconds since 1970.
    """

    token_id: str
    issued_at: float
    subject: str | None
    provider_session: str | None


class ProviderTokens:
    """Reads the tokens of one provider that are meant for one client."""

    def __init__(self, verifier: Verifies, provider: Provider, client_id: str) -> None:
        self._verifier = verifier
        self._provider = provider
        self._client_id = client_id

    @property
    def provider(self) -> Provider:
        """Whose tokens these are."""
        return self._provider

    async def access(self, token: str) -> VerifiedToken:
        """Return whom an access token of this provider speaks of.

        Raises:
            TokenError, KeysUnavailable
        """
        verified = await self._verifier.authenticate(token.encode())
        if verified.provider != self._provider:
            raise WrongAudience
        return verified

    async def identity(self, token: str, nonce: str) -> Identity:
        """Return who signed in (OpenID Connect Core 1.0 §3.1.3.7).

        Raises:
            TokenError: also when it answers another login than the one with ``nonce``.
            KeysUnavailable
        """
        kind, claims = await self._claims(token)
        if kind not in _ID_TOKEN_TYPES or "scope" in claims or "events" in claims:
            raise WrongTokenType
        if optional_text(claims, "azp") not in {None, self._client_id}:
            raise WrongAudience("The ID token was issued to another client")
        if not hmac.compare_digest(required_text(claims, "nonce").encode(), nonce.encode()):
            raise InvalidClaim("The ID token answers another login")
        return Identity(required_text(claims, "sub"), optional_text(claims, "sid"))

    async def logout(self, token: str) -> Logout:
        """Return whose sessions are to end (OpenID Connect Back-Channel Logout 1.0 §2.6).

        Raises:
            TokenError, KeysUnavailable
        """
        kind, claims = await self._claims(token)
        events = claims.get("events")
        if kind not in _LOGOUT_TOKEN_TYPES or not isinstance(events, dict):
            raise WrongTokenType
        if not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in claims:
            raise WrongTokenType
        if "iat" not in claims:
            raise MissingClaim("The claim iat is missing")
        subject, provider_session = optional_text(claims, "sub"), optional_text(claims, "sid")
        if not subject and not provider_session:
            raise MissingClaim("The claims sub and sid are both missing")
        return Logout(required_text(claims, "jti"), claims["iat"], subject, provider_session)

    async def _claims(self, token: str) -> tuple[str | None, dict[str, Any]]:
        kind, claims = await self._verifier.claims_of(token.encode(), self._provider)
        if self._client_id not in audiences(claims):  # the provider may have audiences beside this client
            raise WrongAudience
        return kind, claims
