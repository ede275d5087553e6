"""`/crypto/certificatekeypairs/`: the one key pair there is."""

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.gate import Call, Gate, not_found
from infrastructure.sandbox.authentik.certificates import KeyPair


class KeyPairs:
    """The key pairs resource, read only."""

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/crypto/certificatekeypairs/", get=self._list),
            gate.route("/crypto/certificatekeypairs/{pk}/", get=self._read),
        ]

    def _list(self, call: Call) -> Response:
        shown = self._pair.shown()
        asked = {name: call.query[name] for name in ("name", "key_type") if call.query.get(name)}
        has_key = call.query.get("has_key", "").lower() != "false"
        found = [shown] if has_key and all(shown[name] == value for name, value in asked.items()) else []
        count = len(found)
        pagination = {
            **{"next": 0, "previous": 0, "count": count, "current": 1, "total_pages": 1},
            **{"start_index": count, "end_index": count},
        }
        return JSONResponse({"pagination": pagination, "results": found, "autocomplete": {}})

    def _read(self, call: Call) -> Response:
        if call.path["pk"] != self._pair.pk:
            raise not_found("CertificateKeyPair")
        return JSONResponse(self._pair.shown())
