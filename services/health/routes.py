"""Routes of health."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.health.schemas import PlatformView, PublicHealth, platform_view, public_view
from services.health.service import HealthService
from shared.bodies import StrictRoute
from shared.policy import Operator

router = APIRouter(tags=["health"], route_class=StrictRoute)


async def _service(request: Request) -> HealthService:
    service: HealthService = request.app.state.deps.health
    return service


Health = Annotated[HealthService, Depends(_service)]


@router.get("/health")
async def public_health(health: Health) -> PublicHealth:
    """Say whether the platform is up; for everybody."""
    return public_view(await health.platform())


@router.get("/api/health/platform")
async def platform_health(_: Operator, health: Health) -> PlatformView:
    """Say how everything is that the platform stands on."""
    return platform_view(await health.platform())
