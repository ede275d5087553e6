"""The gateway as a client of one surface's identity provider: OpenID Connect Core 1.0, code flow with PKCE S256.

Authlib builds the requests. Every call has a deadline, follows no redirect, and goes to the origin of the
configured issuer: an endpoint that discovery names elsewhere is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import structlog
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.problems import ServiceUnavailable
from shared.http_client import HttpClient, RemoteUnavailable
from shared.strict_json import StrictError, parse_object

DEADLINE = timedelta(seconds=5)
METADATA_SECONDS = 600.0
SCOPE = "openid profile email offline_access"
_FORM = "application/x-www-form-urlencoded"

log = structlog.get_logger()


class GrantRefused(Exception):
    """The provider does not honour the code or the refresh token."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """An answer of the token endpoint; none of it is verified yet."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What discovery says, of what is needed."""

    authorization: str
    token: str
    end_session: str | None
    secret_in_form: bool
    names_itself: bool


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """Who the gateway is at the provider, and where a browser comes back to."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    home: str


class OidcClient:
    """Talks to one issuer. ``now`` is a monotonic clock in seconds."""

    def __init__(
        self,
        issuer: str,
        identity: ClientIdentity,
        *,
        now: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.issuer = issuer
        self.identity = identity
        self._now = now
        self._http = HttpClient(issuer, deadline=DEADLINE, transport=transport)
        self._known: _Metadata | None = None
        self._known_at = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return where the browser signs in.

        Raises:
            ServiceUnavailable: the provider has never answered.
        """
        metadata = await self._metadata()
        return str(
            prepare_grant_uri(
                metadata.authorization,
                self.identity.client_id,
                "code",
                redirect_uri=self.identity.redirect_uri,
                scope=SCOPE,
                state=state,
                nonce=nonce,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            )
        )

    async def names_itself(self) -> bool:
        """Return whether the provider puts ``iss`` into every answer to the browser (RFC 9207)."""
        return (await self._metadata()).names_itself

    async def end_session_url(self, id_token: str | None) -> str:
        """Return where the browser ends its session at the provider; our own page if no such place is known.

        With an ID token of the session the provider leads back here (OpenID Connect RP-Initiated Logout 1.0 §2). It
        is no credential: the gateway takes none for an access token.
        """
        try:
            end_session = (await self._metadata()).end_session
        except ServiceUnavailable:
            end_session = None
        if end_session is None:
            return self.identity.home
        parameters = [("client_id", self.identity.client_id)]
        if id_token is not None:
            parameters += [("id_token_hint", id_token), ("post_logout_redirect_uri", self.identity.home)]
        return str(add_params_to_uri(end_session, parameters))

    async def redeem(self, code: str, verifier: str) -> TokenSet:
        """Exchange a code for tokens.

        Raises:
            GrantRefused
            ServiceUnavailable: no usable answer; whether the code is used up is unknown.
        """
        return await self._grant(
            "authorization_code", code=code, redirect_uri=self.identity.redirect_uri, code_verifier=verifier
        )

    async def renew(self, refresh_token: str) -> TokenSet:
        """Exchange a refresh token for new tokens; it may count no more afterwards.

        Raises:
            GrantRefused
            ServiceUnavailable: no usable answer; whether the token is used up is unknown.
        """
        return await self._grant("refresh_token", refresh_token=refresh_token)

    async def _grant(self, grant_type: str, **fields: str) -> TokenSet:
        metadata = await self._metadata()
        identity = self.identity
        headers = {"content-type": _FORM, "accept": "application/json"}
        if metadata.secret_in_form:
            fields |= {"client_id": identity.client_id, "client_secret": identity.client_secret}
        else:  # RFC 6749 §2.3.1: both are form-encoded before they are joined
            pair = f"{quote(identity.client_id, safe='')}:{quote(identity.client_secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        body = prepare_token_request(grant_type, **fields)
        status, answer = await self._ask("POST", metadata.token, content=body, headers=headers)
        if status == 200:
            return _tokens(answer)
        if status == 400 and answer.get("error") == "invalid_grant":  # any other error is no word about the grant
            log.info("sign_in.grant_refused", issuer=self.issuer, grant=grant_type)
            raise GrantRefused
        raise _away(f"its token endpoint answers {status}")

    async def _metadata(self) -> _Metadata:
        """Return what discovery said (OpenID Connect Discovery 1.0 §4), at most ten minutes ago if it answers."""
        if self._known is not None and self._now() - self._known_at < METADATA_SECONDS:
            return self._known
        try:
            status, document = await self._ask("GET", self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if status != 200:
                raise _away(f"its discovery answers {status}")
            self._known = self._read(document)
        except ServiceUnavailable as fault:
            if self._known is None:
                raise
            log.warning("sign_in.discovery_failed", issuer=self.issuer, reason=fault.detail)
        self._known_at = self._now()
        return self._known

    def _read(self, document: dict[str, Any]) -> _Metadata:
        if document.get("issuer") != self.issuer:  # §4.3: or one issuer could speak for another
            raise _away("its discovery document is of another issuer")
        if "S256" not in document.get("code_challenge_methods_supported", ["S256"]):
            raise _away("it does not support PKCE with S256")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        end_session = document.get("end_session_endpoint")
        return _Metadata(
            authorization=self._endpoint(document.get("authorization_endpoint")),
            token=self._endpoint(document.get("token_endpoint")),
            end_session=None if end_session is None else self._endpoint(end_session),
            secret_in_form="client_secret_post" in methods,
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, address: object) -> str:
        if not isinstance(address, str) or urlsplit(address)[:2] != urlsplit(self.issuer)[:2]:
            raise _away("it names an endpoint that is not of its own origin")
        return address

    async def _ask(self, method: str, address: str, **request: Any) -> tuple[int, dict[str, Any]]:
        try:
            answer = await self._http.request(method, address, **request)
            return answer.status_code, parse_object(answer.content)
        except (RemoteUnavailable, httpx.HTTPError, httpx.StreamError) as error:
            raise _away("it does not answer") from error
        except StrictError:
            raise _away("its answer is no JSON object") from None


def _tokens(answer: dict[str, Any]) -> TokenSet:
    values = [answer.get(name) for name in ("access_token", "refresh_token", "id_token")]
    access, refresh, identity = (value if isinstance(value, str) and value else None for value in values)
    if access is None or str(answer.get("token_type", "")).lower() != "bearer":
        raise _away("its answer holds no bearer token")
    return TokenSet(access, refresh, identity)


def _away(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the identity provider cannot be used: {reason}", code="identity_provider_unavailable", retry_after=2
    )
