"""Certificates of deletion: the collection ``certificates``, one per tenant, written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.tenant.provisioning.certificates.models import Certificate
from shared.mongo import Index, Mongo, Transaction

INDEXES: Mapping[str, Sequence[Index]] = {"certificates": []}


class CertificateRepository:
    """Certificates by the immutable id of their tenant."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["certificates"]

    async def insert(self, certificate: Certificate, tx: Transaction) -> None:
        """Keep a certificate for ever."""
        row = {
            "_id": certificate.tenant_id,
            "slug": certificate.slug,
            "compact": certificate.compact,
            "payload": certificate.payload,
            "public_key": certificate.public_key,
            "issued_at": certificate.issued_at,
        }
        await self._rows.insert_one(row, session=tx)

    async def find(self, *, tenant_id: str) -> Certificate | None:
        row = await self._rows.find_one({"_id": tenant_id})
        if row is None:
            return None
        return Certificate(
            tenant_id=row["_id"],
            slug=row["slug"],
            compact=row["compact"],
            payload=row["payload"],
            public_key=row["public_key"],
            issued_at=row["issued_at"],
        )
