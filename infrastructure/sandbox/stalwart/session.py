"""GET /jmap/session (RFC 8620 section 2), which is also how a mail client finds out whether it may sign in."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.stalwart.callers import Callers
from infrastructure.sandbox.stalwart.errors import RequestError
from infrastructure.sandbox.stalwart.jmap import CORE, MANAGEMENT
from infrastructure.sandbox.stalwart.objects import text_id
from infrastructure.sandbox.stalwart.registry import STATE
from infrastructure.sandbox.stalwart.seed import Limits


class Session:
    """200 for whoever may sign in, 401 for wrong credentials, 403 for a suspended account."""

    def __init__(self, callers: Callers, limits: Limits) -> None:
        self._callers = callers
        self._limits = limits

    def routes(self) -> list[Route]:
        return [Route("/jmap/session", self._get), Route("/.well-known/jmap", self._redirect)]

    async def _redirect(self, _request: Request) -> Response:
        return RedirectResponse("/jmap/session", 307)

    async def _get(self, request: Request) -> Response:
        try:
            caller = self._callers.admit(request)
        except RequestError as error:
            return error.response()
        own, base = text_id(caller.account.id), str(request.base_url).rstrip("/")
        capabilities: dict[str, Any] = {CORE: self._core(), MANAGEMENT: {}}
        account = {
            "name": caller.address,
            "isPersonal": True,
            "isReadOnly": False,
            "accountCapabilities": {CORE: {}, MANAGEMENT: {}},
        }
        return JSONResponse(
            {
                "capabilities": capabilities,
                "accounts": {own: account},
                "primaryAccounts": dict.fromkeys(capabilities, own),
                "username": caller.address,
                "apiUrl": f"{base}/jmap/",
                "downloadUrl": f"{base}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?accept={{type}}",
                "uploadUrl": f"{base}/jmap/upload/{{accountId}}/",
                "eventSourceUrl": f"{base}/jmap/eventsource/?types={{types}}&closeafter={{closeafter}}&ping={{ping}}",
                "state": STATE,
            }
        )

    def _core(self) -> dict[str, Any]:
        return {
            "maxSizeUpload": 50_000_000,
            "maxConcurrentUpload": 4,
            "maxSizeRequest": self._limits.request_bytes,
            "maxConcurrentRequests": self._limits.concurrent_requests,
            "maxCallsInRequest": self._limits.calls_in_request,
            "maxObjectsInGet": self._limits.objects_in_get,
            "maxObjectsInSet": self._limits.objects_in_set,
            "collationAlgorithms": ["i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap"],
        }
