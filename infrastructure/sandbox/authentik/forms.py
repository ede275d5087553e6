"""Bodies of type `application/x-www-form-urlencoded`, and client credentials in them or in the header."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from infrastructure.sandbox.authentik.errors import OAuthError

FIELDS_MAX = 50


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """The client's credentials, from HTTP Basic or from the form."""

    client_id: str
    client_secret: str


def parse_form(body: bytes) -> dict[str, str]:
    """The form's fields; of a doubled field the last counts, as in the original. Raises OAuthError."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise OAuthError("invalid_request") from None
    return dict(fields)


def client_of(authorization: str, form: Mapping[str, str]) -> ClientAuth:
    """HTTP Basic wins over the form; what cannot be read as Basic is an unknown client. Raises OAuthError."""
    if not authorization.startswith("Basic "):
        return ClientAuth(form.get("client_id", ""), form.get("client_secret", ""))
    try:
        client_id, _, secret = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
    except ValueError:
        raise OAuthError("invalid_client") from None
    # RFC 6749 section 2.3.1 has both form-encoded first; the original takes them as they are.
    return ClientAuth(client_id, secret)
