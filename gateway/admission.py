"""Who may pass: from the Authorization field to the credential that a service gets."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.authenticator import VerifiedToken
from gateway.directory import Directory, PersonDeactivated
from gateway.exchange import Scope
from gateway.headers import Fields, Inbound
from gateway.identity import Credentials
from gateway.problems import BadRequest, InvalidToken, NotPermitted, ServiceUnavailable
from gateway.routes import Route
from gateway.sessions import SessionOver
from gateway.token_errors import KeysUnavailable, TokenError

# The b64token of RFC 6750 §2.1. The scheme's name is in any case (RFC 9110 §11.1).
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9\-._~+/]+=*) *")
_REALM = 'Bearer realm="dezky"'


class Authenticates(Protocol):
    """Verifies access tokens."""

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """Return whom the token speaks of, or raise ``TokenError`` or ``KeysUnavailable``."""
        ...


class Door(Protocol):
    """Knows the access tokens behind the cookies of browser sessions."""

    async def access_token(self, route: Route, method: str, headers: Fields) -> bytes | None:
        """Return the token that a request's cookie stands for, None without one; or raise SessionOver, Refusal."""
        ...


class Admission:
    """Turns an outside token into an internal one, for a route.

    A request that brings an Authorization field is judged by it alone; its cookies count only without one.
    ``metadata_url`` is where the metadata of RFC 9728 is; challenges name it. Without ``door`` no cookie counts.
    """

    def __init__(
        self,
        authenticator: Authenticates,
        directory: Directory,
        credentials: Credentials,
        door: Door | None = None,
        *,
        metadata_url: str,
    ) -> None:
        self._authenticator = authenticator
        self._directory = directory
        self._credentials = credentials
        self._door = door
        self._metadata = f', resource_metadata="{metadata_url}"'

    async def credential(self, route: Route, inbound: Inbound, scope: Scope) -> bytes:
        """Return the header line that presents the caller to the route's service.

        Raises:
            BadRequest: more than one Authorization field, or more than one session.
            InvalidToken: no token or session, one that does not count, or a deactivated account.
            NotPermitted: the token is from a surface that the route is not for, or the write from a foreign page.
            ServiceUnavailable: tokens, sessions or people cannot be judged right now.
        """
        if route.surfaces is None:
            return self._credentials.of_gateway(route.service)
        verified = await self._authenticate(await self._presented(route, inbound.authorizations, scope))
        try:
            caller = self._directory.known(verified) or await self._directory.caller(verified)
        except PersonDeactivated:
            raise self._refused("the account is deactivated") from None
        # Only now: a token that has ceased to count is no token, whatever its surface.
        if verified.provider.surface not in route.surfaces:
            raise NotPermitted("sign in on the operator surface", code="operator_token_required")
        return self._credentials.of_person(caller, route.service)

    async def _presented(self, route: Route, authorizations: list[bytes], scope: Scope) -> bytes:
        """Return the access token that the request brings, or that its session holds."""
        if not authorizations:
            token = await self._of_session(route, scope)
            if token is not None:
                return token
            # RFC 6750 §3.1: a request without a credential learns of no error.
            raise InvalidToken(
                "send an access token in the Authorization field",
                code="unauthenticated",
                challenge=_REALM + self._metadata,
            )
        if len(authorizations) > 1:
            raise BadRequest("a request has one Authorization field", code="invalid_request")
        match = _BEARER.fullmatch(authorizations[0])
        if match is None:
            raise self._refused("the Authorization field holds no bearer token")
        return match[1]

    async def _of_session(self, route: Route, scope: Scope) -> bytes | None:
        if self._door is None:
            return None
        try:
            return await self._door.access_token(route, scope["method"], scope["headers"])
        except SessionOver:
            challenge = _REALM + self._metadata
            raise InvalidToken("the session is over: sign in again", code="session_over", challenge=challenge) from None

    async def _authenticate(self, token: bytes) -> VerifiedToken:
        try:
            return await self._authenticator.authenticate(token)
        except TokenError as error:
            raise self._refused(error.error_description, error.error) from error
        except KeysUnavailable as error:
            raise ServiceUnavailable(str(error), code=error.code, retry_after=error.retry_after) from error

    def _refused(self, description: str, error: str = "invalid_token") -> InvalidToken:
        challenge = f'{_REALM}, error="{error}", error_description="{description}"{self._metadata}'
        return InvalidToken(description, code=error, challenge=challenge)
