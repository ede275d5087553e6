"""Who may read a certificate of deletion."""

from __future__ import annotations

from services.tenant.provisioning.certificates.models import Certificate
from services.tenant.provisioning.certificates.repository import CertificateRepository
from services.tenant.repository import TenantRepository
from services.tenant.scope import Scope
from shared.auth import Person
from shared.errors import InsufficientRole, NotFound


class Certificates:
    """Reads them; they are written with the last step of a deletion."""

    def __init__(self, certificates: CertificateRepository, tenants: TenantRepository) -> None:
        self._certificates = certificates
        self._tenants = tenants

    async def read(self, caller: Person, slug: str) -> Certificate:
        """Return the certificate of a deleted tenant within the caller's scope.

        Raises:
            NotFound: no such tenant for the caller, or it is not deleted.
            InsufficientRole: the caller is one of the tenant's own people.
        """
        tenant = await self._tenants.find(scope=Scope.of(caller), slug=slug)
        if tenant is None:
            raise NotFound
        if not caller.is_operator and (caller.partner is None or caller.partner.slug != tenant.partner):
            raise InsufficientRole("ask your partner")
        certificate = await self._certificates.find(tenant_id=tenant.id)
        if certificate is None:
            raise NotFound("there is a certificate once the tenant is deleted")
        return certificate
