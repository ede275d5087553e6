"""POST /jmap: the envelope around the method calls (RFC 8620 section 3)."""

import json
import time
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.stalwart.callers import Caller, Callers
from infrastructure.sandbox.stalwart.errors import MethodError, RequestError, SetError
from infrastructure.sandbox.stalwart.kinds import KINDS
from infrastructure.sandbox.stalwart.limits import Slots, over
from infrastructure.sandbox.stalwart.references import Created, with_results
from infrastructure.sandbox.stalwart.references import Response as Answer
from infrastructure.sandbox.stalwart.registry import STATE, Registry
from infrastructure.sandbox.stalwart.seed import Limits
from infrastructure.sandbox.stalwart.webhooks import Events

CORE, MANAGEMENT = "urn:ietf:params:jmap:core", "urn:stalwart:jmap"
Body = dict[str, Any]


class Jmap:
    """The one address of the management."""

    def __init__(self, callers: Callers, registry: Registry, events: Events, limits: Limits) -> None:
        self._callers = callers
        self._registry = registry
        self._events = events
        self._limits = limits
        self._slots = Slots(limits.concurrent_requests)

    def routes(self) -> list[Route]:
        return [Route(path, self._post, methods=["POST"]) for path in ("/jmap", "/jmap/")]

    async def _post(self, request: Request) -> Response:
        try:
            caller = self._callers.admit(request)
            with self._slots.taken(caller.account.id):
                return JSONResponse(self._answer(caller, self._envelope(request, await self._body(request))))
        except RequestError as error:
            return error.response()
        except ClientDisconnect:
            # Nobody is left to read it, but the server wants an answer.
            return Response(status_code=400)

    async def _body(self, request: Request) -> bytes:
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > self._limits.request_bytes:
                raise over("maxSizeRequest", "The request is larger than the server is willing to process.")
        return bytes(content)

    def _envelope(self, request: Request, content: bytes) -> Body:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            envelope = json.loads(content)
            # I-JSON (RFC 7493): what cannot be written in UTF-8 is not JSON here.
            json.dumps(envelope, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            envelope = None
        if envelope is None or kind != "application/json":
            raise RequestError(400, "The request did not parse as I-JSON.", "notJSON")
        if not _is_request(envelope):
            raise RequestError(400, "The request does not have the signature of a Request object.", "notRequest")
        for capability in envelope["using"]:
            if capability not in (CORE, MANAGEMENT):
                raise RequestError(400, f"The capability {capability!r} is not supported.", "unknownCapability")
        if len(envelope["methodCalls"]) > self._limits.calls_in_request:
            raise over("maxCallsInRequest", "The request contains more calls than the server is willing to process.")
        return dict(envelope)

    def _answer(self, caller: Caller, envelope: Body) -> Body:
        created: Created = {**(envelope.get("createdIds") or {})}
        responses: list[Answer] = []
        for name, arguments, call in envelope["methodCalls"]:
            try:
                if MANAGEMENT not in envelope["using"] and name.startswith("x:"):
                    raise MethodError("unknownMethod", name)
                answer = self._call(caller, name, with_results(arguments, responses), created)
                responses.append((name, answer, call))
            except MethodError as error:
                responses.append(("error", error.as_json(), call))
        known = {"createdIds": created} if "createdIds" in envelope else {}
        return {"methodResponses": responses, "sessionState": STATE, **known}

    def _call(self, caller: Caller, name: str, arguments: Body, created: Created) -> Body:
        if name == "Core/echo":
            return arguments
        noun, _, verb = name.removeprefix("x:").partition("/")
        if not name.startswith("x:") or noun not in (*KINDS, "Action") or verb not in ("get", "set", "query"):
            raise MethodError("unknownMethod", name)
        _check_arguments(self._registry.own_id(caller), arguments)
        if noun == "Action":
            return self._act(caller, verb, arguments)
        kind = KINDS[noun]
        match verb:
            case "get":
                return self._registry.get(kind, caller, arguments)
            case "query":
                return self._registry.query(kind, caller, arguments)
            case _:
                return self._registry.set(kind, caller, arguments, created)

    def _act(self, caller: Caller, verb: str, arguments: Body) -> Body:
        """Actions are done, not kept: only creation means anything."""
        if verb != "set":
            raise MethodError("invalidArguments", "Actions cannot be queried")
        if not caller.allowance.allows("sysActionCreate"):
            raise MethodError("forbidden", "You do not have the sysActionCreate permission.")
        answer: Body = {"accountId": self._registry.own_id(caller), "oldState": STATE, "newState": STATE}
        for name, action in (arguments.get("create") or {}).items():
            if isinstance(action, dict) and action.get("@type") == "ReloadSettings":
                self._events.reload()
                answer.setdefault("created", {})[name] = {"id": str(int(time.time()))}
            else:
                refusal = SetError(
                    "invalidPatch", "Missing or invalid '@type' property in object", properties=["@type"]
                )
                answer.setdefault("notCreated", {})[name] = refusal.as_json()
        for verb_asked, member in (("update", "notUpdated"), ("destroy", "notDestroyed")):
            for text in arguments.get(verb_asked) or ():
                refusal = SetError("forbidden", f"Actions cannot be {verb_asked.removesuffix('e')}ed")
                answer.setdefault(member, {})[text] = refusal.as_json()
        return answer


def _is_request(envelope: Any) -> bool:
    if not isinstance(envelope, dict):
        return False
    using, calls = envelope.get("using"), envelope.get("methodCalls")
    if not isinstance(using, list) or not all(isinstance(name, str) for name in using) or not isinstance(calls, list):
        return False
    known = envelope.get("createdIds")
    if known is not None and not (isinstance(known, dict) and all(isinstance(text, str) for text in known.values())):
        return False
    return all(isinstance(call, list) and [type(part) for part in call] == [str, dict, str] for call in calls)


def _check_arguments(own: str, arguments: Body) -> None:
    """Raises MethodError for another account's id, and for arguments of the wrong type."""
    if arguments.get("accountId") not in (None, own):
        raise MethodError("accountNotFound", "The account does not exist.")
    expected: dict[str, type] = {
        **dict.fromkeys(("create", "update", "filter"), dict),
        **dict.fromkeys(("ids", "destroy", "properties", "sort"), list),
    }
    for name, kind in expected.items():
        value = arguments.get(name)
        if value is not None and not isinstance(value, kind):
            raise MethodError("invalidArguments", f"{name} has the wrong type")
    for name, inner in (("ids", str), ("destroy", str), ("properties", str), ("sort", dict)):
        if not all(isinstance(item, inner) for item in arguments.get(name) or ()):
            raise MethodError("invalidArguments", f"{name} has an item of the wrong type")
