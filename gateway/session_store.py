"""Where the sessions of a surface are: in a bucket of NATS, encrypted, under keys from which no cookie follows.

A cookie is sealed for its surface and holds a random session id, and two tags. The key in the bucket is

    <surface>.<tag of the subject>.<tag of the provider's session>.<tag of the session id>

so that a back-channel logout finds the sessions of a person without opening any. All tags are HMACs under keys that
NATS never sees. The bucket drops what was not written for its time to live: the idle limit.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.cookies import session_cookie
from gateway.routes import Surface
from gateway.sealing import Keyring, Unsealable
from shared.bucket import Bucket, Entry, KeyChanged
from shared.contracts.session import EndReason
from shared.strict_json import StrictError, decode_base64url, encode_base64url

BUCKET = "gateway-sessions"
_ID_BYTES = 32
_TAG_BYTES = 16
_NO_PROVIDER_SESSION = bytes(_TAG_BYTES)

log = structlog.get_logger()


class SignedInPerson(BaseModel):
    """Who signed in, as the directory knew them then. Slugs place the session's events in a scope."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    name: str
    partner: str | None = None
    tenant: str | None = None


class Claim(BaseModel):
    """One process renews the tokens; the others wait ``until`` then (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    by: str
    until: float


class Ending(BaseModel):
    """The session counts no more; its end is being published under this event id, however often that is tried."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    reason: EndReason
    at: float
    address: str | None
    request_id: str | None


class Record(BaseModel):
    """A session. Times are seconds since 1970; ``id`` is its public name, not the secret of its cookie."""

    model_config = ConfigDict(frozen=True)

    id: str
    subject: str
    provider_session: str | None
    person: SignedInPerson
    access_token: str = Field(repr=False)
    access_expires_at: float
    refresh_token: str | None = Field(repr=False)
    id_token: str | None = Field(repr=False)
    started_at: float
    ends_at: float
    touched_at: float
    renewing: Claim | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A session and the revision at which it was read or written."""

    entry: Entry
    record: Record

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return self.entry.key


class SessionStore:
    """The sessions of one surface. Every method that asks NATS raises ``BusUnavailable`` when it is away."""

    def __init__(self, surface: Surface, keyring: Keyring, bucket: Bucket) -> None:
        self._surface = surface
        self._bucket = bucket
        self._cookies = keyring.sealer(f"{surface} cookie")
        self._values = keyring.sealer(f"{surface} session")
        self._index = keyring.index(surface)
        self._context = session_cookie(surface)

    async def create(self, record: Record) -> str:
        """Store a new session and return the value of its cookie."""
        session_id = secrets.token_bytes(_ID_BYTES)
        provider_session = record.provider_session
        tags = self._subject_tag(record.subject, self._index.first)
        tags += self._provider_tag(provider_session, self._index.first) if provider_session else _NO_PROVIDER_SESSION
        key = self._key(session_id, tags, self._index.first)
        await self._bucket.create(key, self._seal(key, record))
        return encode_base64url(self._cookies.seal(session_id + tags, self._context)).decode()

    def locate(self, cookie: bytes) -> str | None:
        """Return the key of a cookie's session, or None for a cookie that this surface did not make."""
        try:
            plain, key_id = self._cookies.open(decode_base64url(cookie), self._context)
        except (StrictError, Unsealable):
            return None
        return self._key(plain[:_ID_BYTES], plain[_ID_BYTES:], key_id)

    async def read(self, key: str) -> Stored | None:
        """Return the session at ``key``, or None when it is over."""
        entry = await self._bucket.get(key)
        return self._open(entry) if entry is not None else None

    async def write(self, stored: Stored, **changes: Any) -> Stored:
        """Change a session, which also puts off its idle limit; return it as it is now.

        Raises:
            KeyChanged: somebody else has written or ended it.
        """
        record = stored.record.model_copy(update=changes)
        value = self._seal(stored.key, record)
        return Stored(Entry(stored.key, value, await self._bucket.replace(stored.entry, value)), record)

    async def delete(self, stored: Stored) -> None:
        """Delete a session; one that somebody else has deleted is fine.

        Raises:
            KeyChanged: somebody has written it meanwhile.
        """
        await self._bucket.delete(stored.entry)

    async def find(self, subject: str | None, provider_session: str | None) -> AsyncIterator[Stored]:
        """Yield the sessions of a person, of one session at the provider, or of both at once."""
        for key_id in self._index.key_ids:
            person = self._subject_tag(subject, key_id).hex() if subject else "*"
            session = self._provider_tag(provider_session, key_id).hex() if provider_session else "*"
            async for entry in self._bucket.find(f"{self._surface}.{person}.{session}.*"):
                if (stored := self._open(entry)) is not None:
                    yield stored

    async def first_time(self, kind: str, value: str) -> bool:
        """Return True once for each ``value``, in all processes together, for as long as the bucket remembers."""
        try:
            await self._bucket.create(self._mark(kind, value), b"1")
        except KeyChanged:
            return False
        return True

    async def known(self, kind: str, value: str) -> bool:
        """Return whether ``first_time`` has seen ``value``."""
        return await self._bucket.get(self._mark(kind, value)) is not None

    def _mark(self, kind: str, value: str) -> str:
        return f"{self._surface}.{kind}.{self._index.tag(kind, value.encode()).hex()}"

    def _key(self, session_id: bytes, tags: bytes, key_id: bytes) -> str:
        digest = self._index.tag("session", session_id + tags, key_id)
        return f"{self._surface}.{tags[:_TAG_BYTES].hex()}.{tags[_TAG_BYTES:].hex()}.{digest.hex()}"

    def _subject_tag(self, subject: str, key_id: bytes) -> bytes:
        return self._index.tag("subject", subject.encode(), key_id)[:_TAG_BYTES]

    def _provider_tag(self, provider_session: str, key_id: bytes) -> bytes:
        return self._index.tag("provider session", provider_session.encode(), key_id)[:_TAG_BYTES]

    def _seal(self, key: str, record: Record) -> bytes:
        return self._values.seal(record.model_dump_json().encode(), key)

    def _open(self, entry: Entry) -> Stored | None:
        try:
            plain, _ = self._values.open(entry.value, entry.key)
            return Stored(entry, Record.model_validate_json(plain))
        except (Unsealable, ValidationError):
            # Written by somebody else, moved to another key, or sealed with a key that is configured no more.
            log.warning("session.unreadable", surface=self._surface)
            return None
