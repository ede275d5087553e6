"""The cookies of the browser sign-in (RFC 6265bis), and which of them a request stands on.

A surface has a cookie of its own. Which one counts for a request of the API:

1. ``X-Dezky-Surface: operator|portal`` names it, and no other is looked at;
2. without the field, the only one that was sent;
3. when both were sent, the one of the route's surface, if the route is for one surface only;
4. otherwise the request is refused, because the gateway does not guess.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from typing import Final, get_args

from gateway.headers import Fields
from gateway.problems import BadRequest, NotPermitted
from gateway.routes import Surface

SURFACES: Final[tuple[Surface, ...]] = get_args(Surface)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Every attribute that the prefix asks for; Lax, because the way back from the provider is a cross-site navigation.
_ATTRIBUTES = "; Path=/; Secure; HttpOnly; SameSite=Lax"
_CSRF_VALUE = b"1"


class CsrfRejected(NotPermitted):
    """403: nothing shows that our own page sent this."""

    title, default_code = "The request does not come from our own page", "csrf_rejected"


def session_cookie(surface: Surface) -> str:
    """Return the name of the cookie of a surface's session."""
    return f"__Host-dezky-{surface}"


def login_cookie(surface: Surface) -> str:
    """Return the name of the cookie that lives from ``login`` to ``callback``."""
    return f"__Host-dezky-{surface}-login"


def set_cookie(name: str, value: str, max_age: int | None = None) -> bytes:
    """Return the value of Set-Cookie; without ``max_age`` (seconds) the cookie ends with the browser."""
    age = "" if max_age is None else f"; Max-Age={max_age}"
    return f"{name}={value}{_ATTRIBUTES}{age}".encode("ascii")


def clear_cookie(name: str) -> bytes:
    """Return the value of Set-Cookie that makes the browser forget the cookie."""
    return set_cookie(name, "", 0)


def read_cookies(headers: Fields, names: Collection[str]) -> dict[str, bytes]:
    """Return the cookies of these names that a request brought.

    Raises:
        BadRequest: one is there twice, so that two readers could take the request for two people's.
    """
    wanted = {name.encode() for name in names}
    found: dict[str, bytes] = {}
    for field, line in headers:
        if field != b"cookie":
            continue
        for pair in line.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name not in wanted:
                continue
            if name.decode() in found:
                raise BadRequest("a session cookie is there twice", code="invalid_request")
            found[name.decode()] = value
    return found


def session_of(headers: Fields, route_surfaces: Collection[Surface]) -> tuple[Surface, bytes] | None:
    """Return the surface whose session a request stands on, and its cookie; None when there is none.

    Raises:
        BadRequest: the request does not say which one.
    """
    sent = read_cookies(headers, [session_cookie(surface) for surface in SURFACES])
    present = {surface: sent[session_cookie(surface)] for surface in SURFACES if session_cookie(surface) in sent}
    if not present:
        return None
    named = [value.strip() for field, value in headers if field == b"x-dezky-surface"]
    if named:
        return _named(named, present)
    candidates = list(present) if len(present) == 1 else [surface for surface in route_surfaces if surface in present]
    if len(candidates) != 1:
        raise BadRequest("two sessions: name one in X-Dezky-Surface", code="surface_required")
    return candidates[0], present[candidates[0]]


def _named(named: list[bytes], present: Mapping[Surface, bytes]) -> tuple[Surface, bytes] | None:
    for surface in SURFACES:
        if named == [surface.encode()]:
            return (surface, present[surface]) if surface in present else None
    raise BadRequest("X-Dezky-Surface is operator or portal", code="invalid_surface")


def check_csrf(headers: Fields, origin: str) -> None:
    """Make sure that a page of ``origin`` sent this with a script of its own.

    No other site's page can set the custom field without a preflight that we do not answer, nor choose its Origin.

    Raises:
        CsrfRejected
    """
    marks = [value.strip() for field, value in headers if field == b"x-dezky-csrf"]
    if marks != [_CSRF_VALUE]:
        raise CsrfRejected("send X-Dezky-CSRF: 1")
    origins = [value.strip() for field, value in headers if field == b"origin"]
    if len(origins) != 1 or not hmac.compare_digest(origins[0], origin.encode()):
        raise CsrfRejected("the Origin is not ours")
