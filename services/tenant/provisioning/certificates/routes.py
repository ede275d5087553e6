"""The route of certificates."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from services.tenant.provisioning.certificates.service import Certificates
from shared.app import answer, send
from shared.bodies import StrictRoute
from shared.policy import AnyPerson
from shared.schemas import View

router = APIRouter(prefix="/api", tags=["tenants"], route_class=StrictRoute)


class CertificateView(View):
    """``certificate`` is what is signed (JWS, compact); ``payload`` and ``publicKey`` (JWK) are there for readers."""

    certificate: str
    sha256: str
    payload: dict[str, Any]
    public_key: dict[str, str]


async def _service(request: Request) -> Certificates:
    service: Certificates = request.app.state.deps.certificates
    return service


@router.get("/tenants/{slug}/certificate", response_model=CertificateView)
async def read_certificate(
    slug: str, caller: AnyPerson, certificates: Annotated[Certificates, Depends(_service)]
) -> Response:
    """Read the signed certificate that nothing of a deleted tenant is left in any backend."""
    found = await certificates.read(caller, slug)
    view = CertificateView(
        certificate=found.compact,
        sha256=found.sha256,
        payload=dict(found.payload),
        public_key=dict(found.public_key),
    )
    return send(answer(view))
