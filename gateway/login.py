"""One sign-in, from the browser's departure to the provider until a session can begin."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from authlib.common.security import generate_token

from gateway.cookies import clear_cookie, login_cookie, read_cookies, set_cookie
from gateway.directory import Directory, PersonDeactivated
from gateway.headers import Fields
from gateway.oidc import GrantRefused, OidcClient, TokenSet
from gateway.problems import BadRequest, NotPermitted, ServiceUnavailable
from gateway.provider_tokens import ProviderTokens
from gateway.routes import Surface
from gateway.sealing import Sealer, Unsealable
from gateway.session_store import Record, SignedInPerson
from gateway.sessions import ABSOLUTE_SECONDS
from gateway.token_errors import KeysUnavailable, TokenError
from shared.auth import Person
from shared.clock import Clock
from shared.ids import new_id
from shared.strict_json import StrictError, decode_base64url, encode_base64url

LOGIN_SECONDS: Final = 600
_RANDOM_CHARACTERS = 43  # of 62: 256 bits
# A path of our own origin, and nothing that a browser could take for another one: it reads a backslash as a slash
# and drops tabs and line ends.
_RETURN_TO = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]{0,2000})?")
# RFC 6749 §4.1.2.1 and OpenID Connect Core 1.0 §3.1.2.6; whatever else a URL says is not repeated.
_PROVIDER_ERRORS = frozenset(
    {
        "access_denied", "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type",
        "server_error", "temporarily_unavailable", "login_required", "consent_required", "interaction_required",
        "account_selection_required",
    }
)  # fmt: skip

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Begun:
    """What this browser began: kept in a sealed cookie, and told to nobody."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    until: float


class LoginState:
    """Keeps a ``Begun`` in the browser between ``login`` and ``callback``: sealed, for ten minutes."""

    def __init__(self, sealer: Sealer, surface: Surface, clock: Clock) -> None:
        self._sealer = sealer
        self._name = login_cookie(surface)
        self._clock = clock

    def begin(self, return_to: str) -> tuple[Begun, bytes]:
        """Return a new sign-in, and the value of Set-Cookie that keeps it."""
        state, nonce, verifier = (generate_token(_RANDOM_CHARACTERS) for _ in range(3))
        begun = Begun(state, nonce, verifier, return_to, self._clock.now().timestamp() + LOGIN_SECONDS)
        sealed = encode_base64url(self._sealer.seal(orjson.dumps(begun), self._name))
        return begun, set_cookie(self._name, sealed.decode(), LOGIN_SECONDS)

    def read(self, headers: Fields) -> Begun:
        """Return what the browser began.

        Raises:
            BadRequest: there is no cookie, it is not ours, or it is too old.
        """
        sealed = read_cookies(headers, [self._name]).get(self._name, b"")
        try:
            plain, _ = self._sealer.open(decode_base64url(sealed), self._name)
        except (StrictError, Unsealable):
            raise login_refused("this browser did not begin it") from None
        begun = Begun(**orjson.loads(plain))
        if self._clock.now().timestamp() >= begun.until:
            raise login_refused("it took longer than ten minutes")
        return begun

    def forget(self) -> bytes:
        """Return the value of Set-Cookie that forgets it."""
        return clear_cookie(self._name)


class Login:
    """Turns the provider's answer into the record of a session."""

    def __init__(self, client: OidcClient, tokens: ProviderTokens, directory: Directory, clock: Clock) -> None:
        self._client = client
        self._tokens = tokens
        self._directory = directory
        self._clock = clock

    async def complete(self, given: dict[str, str], begun: Begun) -> Record:
        """Return the record of a session that may begin; ``given`` are the parameters of the callback.

        Raises:
            BadRequest: the answer does not count.
            NotPermitted: the provider, or we, let this person not in.
            ServiceUnavailable: provider or directory are away.
        """
        code = await self._code(given)
        try:
            return await self._record(await self._client.redeem(code, begun.verifier), begun.nonce)
        except GrantRefused:
            raise login_refused("the provider does not know the code") from None
        except TokenError as error:
            log.warning("sign_in.token_refused", issuer=self._client.issuer, reason=error.reason)
            raise login_refused("the provider's tokens do not count") from error
        except KeysUnavailable as error:
            raise keys_away(error) from error

    async def _code(self, given: dict[str, str]) -> str:
        # RFC 9207 §2.4: an answer that another provider made up does not reach our token endpoint.
        issuer = given.get("iss")
        if issuer != self._client.issuer and (issuer is not None or await self._client.names_itself()):
            raise login_refused("it comes from another provider")
        if "error" in given:
            error = given["error"] if given["error"] in _PROVIDER_ERRORS else "an error"
            raise NotPermitted(f"the identity provider answers {error}", code="sign_in_refused")
        if not given.get("code"):
            raise login_refused("the provider sent no code")
        return given["code"]

    async def _record(self, tokens: TokenSet, nonce: str) -> Record:
        if tokens.id_token is None:
            raise login_refused("the provider sent no ID token")
        identity = await self._tokens.identity(tokens.id_token, nonce)
        verified = await self._tokens.access(tokens.access_token)
        if verified.subject != identity.subject:
            raise login_refused("the provider's tokens are of two people")
        try:
            caller = await self._directory.caller(verified)
        except PersonDeactivated:
            raise NotPermitted("the account is deactivated", code="person_deactivated") from None
        now = self._clock.now().timestamp()
        return Record(
            id=new_id(),
            subject=verified.subject,
            provider_session=identity.provider_session,
            person=_signed_in(caller.person),
            access_token=tokens.access_token,
            access_expires_at=verified.expires_at,
            refresh_token=tokens.refresh_token,
            id_token=tokens.id_token,
            started_at=now,
            ends_at=now + ABSOLUTE_SECONDS,
            touched_at=now,
        )


def return_path(text: str) -> str:
    """Return ``text`` if it is a path of our own origin.

    Raises:
        BadRequest: a browser could read it as another place.
    """
    if not _RETURN_TO.fullmatch(text):
        raise BadRequest("returnTo is a path of this site, as /tenants", code="invalid_return_to")
    return text


def same_login(given: dict[str, str], begun: Begun) -> None:
    """Make sure that the answer is to what this browser began.

    Raises:
        BadRequest: it is not.
    """
    if not hmac.compare_digest(given.get("state", "").encode(), begun.state.encode()):
        raise login_refused("it is the answer to another one")


def login_refused(reason: str) -> BadRequest:
    """Return the refusal of a sign-in that did not come off."""
    return BadRequest(f"sign in again: {reason}", code="login_refused")


def keys_away(error: KeysUnavailable) -> ServiceUnavailable:
    """Return the refusal for tokens that cannot be judged now."""
    return ServiceUnavailable(str(error), code=error.code, retry_after=error.retry_after)


def _signed_in(person: Person) -> SignedInPerson:
    """The slugs are what an event of theirs is filed under: the partner, and the tenant if it is one."""
    tenants = list(person.tenants)
    return SignedInPerson(
        id=person.id,
        email=person.email,
        name=person.name,
        partner=person.partner.slug if person.partner is not None else None,
        tenant=tenants[0] if len(tenants) == 1 else None,
    )
