"""What a JWT claims (RFC 7519 section 4, RFC 9068): each claim present, of its type, and true now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.token_errors import (
    InvalidClaim,
    MalformedToken,
    MissingClaim,
    NotAnAccessToken,
    TokenExpired,
    TokenNotYetValid,
    WrongTokenType,
)
from shared.strict_json import StrictError, parse_object

SKEW_SECONDS = 30

# The last second of the year 9999, the end of every calendar that a date is later put into.
LATEST = 253_402_300_799
# RFC 7493 section 2.2: beyond this, two readers need not agree on a number.
_MAX_EXACT = 2**53

_ACCESS_TOKEN = "at+jwt"
_ACCEPTED_TYPES = frozenset({None, "jwt", _ACCESS_TOKEN})


@dataclass(frozen=True, slots=True)
class Validity:
    """When a token counts, in seconds since 1970.

    ``issued_at`` is 0 when the token does not say, so that "refuse what was issued before" refuses it.
    """

    issued_at: float
    expires_at: float


def parse_claims(payload: bytes) -> dict[str, Any]:
    """Read the claims of a payload, whether it is verified or not.

    Raises:
        MalformedToken: no JSON object of the strict kind.
    """
    try:
        return parse_object(payload)
    except StrictError as error:
        raise MalformedToken("The token does not hold a set of claims") from error


def required_text(claims: dict[str, Any], name: str) -> str:
    """Return a claim that must be there and be a string that is not empty.

    Raises:
        MissingClaim, InvalidClaim: naming the claim, which must be a name of ours and not of the token.
    """
    if name not in claims:
        raise MissingClaim(f"The claim {name} is missing")
    value = claims[name]
    if not isinstance(value, str) or not value:
        raise InvalidClaim(f"The claim {name} must be a string")
    return value


def optional_text(claims: dict[str, Any], name: str) -> str | None:
    """Return a string, or None for a claim that is absent or null."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidClaim(f"The claim {name} must be a string")
    return value


def texts(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of strings; empty when the claim is absent. One string alone is not a list of one."""
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidClaim(f"The claim {name} must be a list of strings")
    return tuple(value)


def audiences(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return ``aud`` as a tuple: it may be a string or a list of strings (RFC 7519 section 4.1.3)."""
    if isinstance(claims.get("aud"), list):
        return texts(claims, "aud")
    return (required_text(claims, "aud"),)


def check_kind(token_type: str | None, claims: dict[str, Any]) -> None:
    """Refuse every JWT that is not an access token.

    An access token says so by its type (RFC 9068), or carries ``scope``. Authentik writes ``typ: JWT`` on ID
    tokens and access tokens alike, so ``scope`` is all that tells them apart.

    Raises:
        WrongTokenType: the header names another kind: a logout token, an internal token.
        NotAnAccessToken: an ID token.
    """
    if token_type not in _ACCEPTED_TYPES:
        raise WrongTokenType
    scope = optional_text(claims, "scope")
    if scope is None and token_type != _ACCESS_TOKEN:
        raise NotAnAccessToken


def check_validity(claims: dict[str, Any], now: float) -> Validity:
    """Check ``exp`` (required), ``nbf`` and ``iat`` against ``now``, with 30 s for clocks that disagree.

    Raises:
        MissingClaim, InvalidClaim: ``exp`` is missing, or one of the three is not a date.
        TokenExpired, TokenNotYetValid
    """
    expires_at = _date(claims, "exp")
    if expires_at is None:
        raise MissingClaim("The claim exp is missing")
    not_before = _date(claims, "nbf")
    issued_at = _date(claims, "iat")
    if now >= expires_at + SKEW_SECONDS:
        raise TokenExpired
    for begins_at in (not_before, issued_at):
        if begins_at is not None and begins_at > now + SKEW_SECONDS:
            raise TokenNotYetValid
    return Validity(issued_at=issued_at or 0, expires_at=expires_at)


def _date(claims: dict[str, Any], name: str) -> float | None:
    # A NumericDate (RFC 7519 section 2), brought into the range that a calendar can show.
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MAX_EXACT < value < _MAX_EXACT:
        raise InvalidClaim(f"The claim {name} must be a date in seconds")
    return min(max(value, 0), LATEST)
