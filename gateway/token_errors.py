"""Why a token is refused. Every reason is a class, its code is API and is never renamed.

Unauthenticated (401)
└── TokenError
    ├── MalformedToken       not a compact JWS of the strict kind, or too large
    ├── HeaderNotAllowed     a header member that is refused whatever its signature says
    ├── AlgorithmNotAllowed  an algorithm that this provider is not pinned to
    ├── UnknownKey           no key of the provider bears the token's key id
    ├── KeyNotUsable         the key exists, but not for this token; or no key id and no single key
    ├── BadSignature
    ├── UnknownIssuer, WrongAudience
    ├── MissingClaim, InvalidClaim
    ├── TokenExpired, TokenNotYetValid
    ├── WrongTokenType       a JWT of another kind (RFC 8725 section 3.11)
    └── NotAnAccessToken     an ID token

Unavailable (503)
└── KeysUnavailable          the provider's keys could not be fetched: nobody's token can be judged
"""

from __future__ import annotations

from typing import ClassVar

from shared.errors import Unauthenticated, Unavailable


class TokenError(Unauthenticated):
    """A token that does not count.

    ``error`` and ``error_description`` are the parameters of RFC 6750 section 3. The description is a fixed
    text in that section's character set: it never quotes the token.
    """

    code, title = "invalid_token", "The token is not valid"
    error: ClassVar[str] = "invalid_token"

    @property
    def reason(self) -> str:
        return self.code

    @property
    def error_description(self) -> str:
        return self.detail or self.title


class MalformedToken(TokenError):
    code, title = "malformed_token", "The token is malformed"


class HeaderNotAllowed(TokenError):
    code, title = "header_not_allowed", "The token header has a member that is not allowed"


class AlgorithmNotAllowed(TokenError):
    code, title = "algorithm_not_allowed", "The signature algorithm is not allowed"


class UnknownKey(TokenError):
    code, title = "unknown_key", "The signing key is unknown"


class KeyNotUsable(TokenError):
    code, title = "key_not_usable", "The signing key cannot be used for this token"


class BadSignature(TokenError):
    code, title = "bad_signature", "The signature is wrong"


class UnknownIssuer(TokenError):
    code, title = "unknown_issuer", "The issuer is unknown"


class WrongAudience(TokenError):
    code, title = "wrong_audience", "The token is not meant for this service"


class MissingClaim(TokenError):
    code, title = "missing_claim", "A required claim is missing"


class InvalidClaim(TokenError):
    code, title = "invalid_claim", "A claim has the wrong type"


class TokenExpired(TokenError):
    code, title = "token_expired", "The token has expired"


class TokenNotYetValid(TokenError):
    code, title = "token_not_yet_valid", "The token is not valid yet"


class WrongTokenType(TokenError):
    code, title = "wrong_token_type", "The token is of another kind"


class NotAnAccessToken(TokenError):
    code, title = "not_an_access_token", "The token is not an access token"


class KeysUnavailable(Unavailable):
    code, title = "identity_keys_unavailable", "The keys of the identity provider cannot be fetched"
