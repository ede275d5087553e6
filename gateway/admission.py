"""Who may pass: from the Authorization field to the credential that a service gets."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.authenticator import VerifiedToken
from gateway.directory import Directory, PersonDeactivated
from gateway.headers import Inbound
from gateway.identity import Credentials
from gateway.problems import BadRequest, InvalidToken, NotPermitted, ServiceUnavailable
from gateway.routes import Route
from gateway.token_errors import KeysUnavailable, TokenError

# The b64token of RFC 6750 §2.1. The scheme's name is in any case (RFC 9110 §11.1).
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9\-._~+/]+=*) *")
_REALM = 'Bearer realm="dezky"'


class Authenticates(Protocol):
    """Verifies access tokens."""

    async def authenticate(self, token: bytes) -> VerifiedToken:
        """Return whom the token speaks of, or raise ``TokenError`` or ``KeysUnavailable``."""
        ...


class Admission:
    """Turns an outside token into an internal one, for a route.

    ``metadata_url`` is where the metadata of RFC 9728 is; challenges name it.
    """

    def __init__(
        self, authenticator: Authenticates, directory: Directory, credentials: Credentials, *, metadata_url: str
    ) -> None:
        self._authenticator = authenticator
        self._directory = directory
        self._credentials = credentials
        self._metadata = f', resource_metadata="{metadata_url}"'

    async def credential(self, route: Route, inbound: Inbound) -> bytes:
        """Return the header line that presents the caller to the route's service.

        Raises:
            BadRequest: more than one Authorization field.
            InvalidToken: no token, a token that does not count, or a deactivated account.
            NotPermitted: the token is from a surface that the route is not for.
            ServiceUnavailable: tokens or people cannot be judged right now.
        """
        if route.surfaces is None:
            return self._credentials.of_gateway(route.service)
        verified = await self._authenticate(inbound.authorizations)
        if verified.provider.surface not in route.surfaces:
            raise NotPermitted("sign in on the operator surface", code="operator_token_required")
        try:
            caller = self._directory.known(verified) or await self._directory.caller(verified)
        except PersonDeactivated:
            raise self._refused("the account is deactivated") from None
        return self._credentials.of_person(caller, route.service)

    async def _authenticate(self, authorizations: list[bytes]) -> VerifiedToken:
        if not authorizations:
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
        try:
            return await self._authenticator.authenticate(match[1])
        except TokenError as error:
            raise self._refused(error.error_description, error.error) from error
        except KeysUnavailable as error:
            raise ServiceUnavailable(str(error), code=error.code, retry_after=error.retry_after) from error

    def _refused(self, description: str, error: str = "invalid_token") -> InvalidToken:
        challenge = f'{_REALM}, error="{error}", error_description="{description}"{self._metadata}'
        return InvalidToken(description, code=error, challenge=challenge)
