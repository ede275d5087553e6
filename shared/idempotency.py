"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): claimed in the transaction of the change.

A key is bound to caller, route and body. The same request again gets the stored answer; another body under the
same key is refused; a twin that is still running is refused with 409.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.clock import Clock
from shared.errors import Conflict, Invalid
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction, is_write_conflict

KEPT = timedelta(hours=24)
INDEXES = {"idempotency": [Index([("at", 1)], {"expireAfterSeconds": int(KEPT.total_seconds())})]}


class IdempotencyKeyReused(Invalid):
    code, title = "idempotency_key_reused", "This Idempotency-Key belongs to another request"


class IdempotencyInProgress(Conflict):
    code, title = "idempotency_in_progress", "A request with this Idempotency-Key is still running"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was or will be sent: status, headers (lower case), body bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


class Replay(Exception):
    """The request was answered before; ``answer`` is what it was answered with."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("replayed")
        self.answer = answer


class IdempotencyClaim:
    """One request's claim on its key. Without a key it claims nothing."""

    def __init__(self, mongo: Mongo, clock: Clock, claim_id: str | None, body_hash: str) -> None:
        self._rows = mongo.db["idempotency"]
        self._clock = clock
        self._id = claim_id
        self._body_hash = body_hash
        self._render: Callable[[Any], Answer] | None = None

    @staticmethod
    def id_of(caller: str, route: str, key: str) -> str:
        """Return the row id: nothing of the key can be read from it, and no caller can meet another's."""
        return hashlib.sha256(f"{caller}\x00{route}\x00{key}".encode()).hexdigest()

    def answering(self, render: Callable[[Any], Answer]) -> IdempotencyClaim:
        """Say how the result of the use case becomes the answer that a replay repeats."""
        self._render = render
        return self

    async def begin(self, tx: Transaction) -> None:
        """Claim the key.

        Raises:
            Replay: answered before. IdempotencyKeyReused: the key came with another body.
            IdempotencyInProgress: a twin holds the key in a transaction that has not ended.
        """
        if self._id is None:
            return
        row = await self._rows.find_one({"_id": self._id}, session=tx)
        if row is not None:
            self._resume(row)
        try:
            await self._rows.insert_one(
                {"_id": self._id, "body": self._body_hash, "at": self._clock.now(), "answer": None},
                session=tx,
            )
        except Exception as error:
            if isinstance(error, DuplicateKey) or is_write_conflict(error):
                raise IdempotencyInProgress("wait for its answer, then repeat the request") from error
            raise

    async def settle(self, tx: Transaction, result: Any) -> None:
        """Store the answer in the transaction that makes it true."""
        if self._id is None or self._render is None:
            return
        answer = self._render(result)
        await self._rows.update_one(
            {"_id": self._id},
            {"$set": {"answer": {"status": answer.status, "headers": answer.headers, "body": answer.body}}},
            session=tx,
        )

    def _resume(self, row: Document) -> None:
        if row["body"] != self._body_hash:
            raise IdempotencyKeyReused("use a new key for a new request")
        if row["answer"] is None:
            raise IdempotencyInProgress("wait for its answer, then repeat the request")
        raise Replay(Answer(row["answer"]["status"], row["answer"]["headers"], bytes(row["answer"]["body"])))
