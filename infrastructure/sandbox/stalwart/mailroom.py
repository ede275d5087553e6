"""Mail without SMTP, for tests and demonstrations.

    POST /_sandbox/mail        {"to", "from", "bytes"?}   mail arrives from outside
    POST /_sandbox/submission  {"from", "to", "bytes"?}   an account sends mail

Both answer 200 {"result": "accepted" | "bounced" | "deferred" | "refused", "reply": the SMTP reply (RFC 5321, 3463)}.
"""

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.kit import CONTROL_PREFIX, Wire, transaction
from infrastructure.sandbox.stalwart.accounts import Accounts
from infrastructure.sandbox.stalwart.objects import Objects, now
from infrastructure.sandbox.stalwart.webhooks import Events


class Message(Wire):
    """An envelope and its size."""

    to: str = Field(pattern=r"^[^\s@]+@[^\s@]+$")
    sender: str = Field(alias="from", pattern=r"^[^\s@]+@[^\s@]+$")
    size: int = Field(default=1024, alias="bytes", ge=1, le=2**40)


class Mailroom:
    """Delivers to accounts, as their permissions and quotas allow, and tells the webhooks."""

    def __init__(self, objects: Objects, accounts: Accounts, events: Events) -> None:
        self._objects = objects
        self._accounts = accounts
        self._events = events

    def routes(self) -> list[Route]:
        return [
            Route(CONTROL_PREFIX + "mail", self._arrive, methods=["POST"]),
            Route(CONTROL_PREFIX + "submission", self._submit, methods=["POST"]),
        ]

    async def _arrive(self, request: Request) -> Response:
        message = await _message(request)
        return message if isinstance(message, Response) else self._delivered(message)

    async def _submit(self, request: Request) -> Response:
        message = await _message(request)
        if isinstance(message, Response):
            return message
        account = self._accounts.with_address(message.sender)
        if account is None:
            return _result("refused", "535 5.7.8 Authentication credentials invalid.")
        may = self._accounts.allowance(account)
        if not (may.allows("authenticate") and may.allows("emailSend")):
            return _result("refused", "550 5.7.1 Your account is not authorized to use this service.")
        self._events.raise_event("queue.authenticated-message-queued", {"from": message.sender, "to": [message.to]})
        return _result("accepted", "250 2.0.0 Message queued.")

    def _delivered(self, message: Message) -> Response:
        account = self._accounts.with_address(message.to)
        route = {"from": message.sender, "to": [message.to]}
        if account is None:
            self._events.raise_event("smtp.mailbox-does-not-exist", route)
            return _result("bounced", "550 5.1.2 Mailbox does not exist.")
        if not self._accounts.allowance(account).allows("emailReceive"):
            self._events.raise_event("delivery.dsn-perm-fail", route)
            return _result("bounced", "550 5.7.1 This account is not authorized to receive email.")
        if not self._accounts.has_room(account, message.size):
            self._events.raise_event("limit.quota", route)
            return _result("deferred", "452 4.2.2 Mailbox over quota.")
        with transaction(self._objects.store):
            self._objects.store.execute(
                "INSERT INTO mail (account, tenant, bytes, sender, received) VALUES (?, ?, ?, ?, ?)",
                (account.id, account.tenant, message.size, message.sender, now()),
            )
        self._events.raise_event("message-ingest.ham", {**route, "accountId": account.id, "size": message.size})
        return _result("accepted", "250 2.0.0 Message delivered.")


async def _message(request: Request) -> Message | Response:
    # A web page could make a browser post a form here, but not JSON: nothing grants the preflight.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return JSONResponse({"detail": "application/json is required"}, 415)
    try:
        return Message.model_validate_json(await request.body())
    except ValidationError as error:
        return JSONResponse(
            {"errors": error.errors(include_url=False, include_context=False, include_input=False)}, 422
        )


def _result(result: str, reply: str) -> Response:
    return JSONResponse({"result": result, "reply": reply})
