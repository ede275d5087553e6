"""Authorization codes (RFC 6749 section 4.1, RFC 7636): one minute, one use."""

import hmac
import sqlite3
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from uuid import uuid4

from infrastructure.sandbox.authentik.applications import Application
from infrastructure.sandbox.authentik.authorization import AuthorizationRequest
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.errors import OAuthError
from infrastructure.sandbox.authentik.granted import Granted
from infrastructure.sandbox.authentik.issued import REFRESH_TOKEN_SECONDS, Issued
from infrastructure.sandbox.authentik.one_time import digest, new_secret
from infrastructure.sandbox.authentik.sessions import SignedIn

CODE_SECONDS = 60


class Codes:
    """The codes of one instance, kept as digests."""

    def __init__(
        self, store: sqlite3.Connection, directory: Directory, issued: Issued, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._directory = directory
        self._issued = issued
        self._clock = clock

    def issue(self, request: AuthorizationRequest, signed_in: SignedIn) -> str:
        code, now = new_secret(), self._clock()
        # A redeemed code is remembered as long as its tokens may live, so that a second use can revoke them.
        self._store.execute("DELETE FROM codes WHERE expires <= ?", (now - REFRESH_TOKEN_SECONDS,))
        self._store.execute(
            "INSERT INTO codes (digest, family, slug, user_pk, sid, auth_time, scope, nonce, redirect_uri, challenge,"
            " challenge_method, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest(code),
                uuid4().hex,
                request.application.slug,
                signed_in.user.pk,
                signed_in.sid,
                signed_in.auth_time,
                " ".join(request.scopes),
                request.nonce,
                request.redirect_uri,
                request.challenge,
                request.challenge_method,
                now + CODE_SECONDS,
            ),
        )
        return code

    def redeem(self, application: Application, code: str, redirect_uri: str, verifier: str) -> Granted:
        """Raises OAuthError `invalid_grant`. A second use also revokes what the first one was given."""
        row = self._store.execute(
            "SELECT * FROM codes WHERE digest = ? AND slug = ?", (digest(code), application.slug)
        ).fetchone()
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        if user is None:
            raise OAuthError("invalid_grant")
        if row["redeemed"]:
            self._issued.revoke_family(row["family"])
            raise OAuthError("invalid_grant")
        proven = _proves(verifier, row["challenge"], row["challenge_method"])
        if row["expires"] <= self._clock() or row["redirect_uri"] != redirect_uri or not proven:
            raise OAuthError("invalid_grant")
        self._store.execute("UPDATE codes SET redeemed = 1 WHERE digest = ?", (row["digest"],))
        return Granted(
            application,
            user,
            ("pwd",),
            tuple(row["scope"].split()),
            row["auth_time"],
            row["family"],
            sid=row["sid"],
            nonce=row["nonce"],
            refreshable=True,
        )


def _proves(verifier: str, challenge: str, method: str) -> bool:
    """RFC 7636 section 4.6. A verifier without a challenge is refused as well: somebody took the challenge away."""
    if not challenge:
        return not verifier
    if method == "S256":
        verifier = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return hmac.compare_digest(verifier.encode(), challenge.encode())
