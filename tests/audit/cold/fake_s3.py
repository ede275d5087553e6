"""An S3 server in this process that lies on request, from the S3 API reference: put, get, head, list, multipart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from xml.sax.saxutils import escape

from aiohttp import web

FAULTS = ("500", "timeout", "unstored", "truncated", "lost")
IMPATIENT_SECONDS = 0.8
"""How long whoever meets a timeout waits: as short as a busy machine allows. Nobody else has reason to be impatient."""
PATIENT_SECONDS = 15.0


class FakeS3:
    """Objects by key. `faults` maps (call, which one of its kind, from 1) to what goes wrong then.

    Beside FAULTS there is `taken`: somebody else stores an object under the key right before the call.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[tuple[str, int], str] = {}
        self.calls: dict[str, int] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> FakeS3:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{bucket}", self._handle)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def fail(self, call: str, number: int, fault: str) -> None:
        """Let the next so-manieth call of a kind go wrong."""
        self.faults[call, self.calls.get(call, 0) + number] = fault

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        key, query = request.match_info.get("key", ""), request.query
        body = await request.read()
        call = _call_of(request.method, key, query)
        self.calls[call] = self.calls.get(call, 0) + 1
        fault = self.faults.pop((call, self.calls[call]), "")
        if fault == "500":
            return _refusal(500, "InternalError")
        if fault == "taken":
            self.objects.setdefault(key, b"of somebody else")
        if fault == "unstored" and call in {"put", "complete"}:
            return _done(call, body)
        if fault == "truncated" and call == "put":
            self.objects[key] = body[: len(body) // 2]
            return _done(call, body)
        answer = self._answer(call, key, query, request, body)
        if fault == "timeout":
            await asyncio.sleep(2 * IMPATIENT_SECONDS)
        if fault == "lost" and request.transport is not None:
            request.transport.close()
        if fault in {"truncated", "unstored"} and call == "get" and answer.status == 200:
            assert isinstance(answer.body, bytes)
            return web.Response(body=answer.body[: len(answer.body) // 2])
        return answer

    def _answer(self, call: str, key: str, query: object, request: web.Request, body: bytes) -> web.Response:
        assert hasattr(query, "get")
        if call in {"put", "complete"} and key in self.objects and request.headers.get("if-none-match") == "*":
            return _refusal(412, "PreconditionFailed")
        if call == "put":
            sent = request.headers.get("x-amz-checksum-sha256")
            if sent != base64.b64encode(hashlib.sha256(body).digest()).decode():
                return _refusal(400, "BadDigest")
            self.objects[key] = body
        elif call == "begin":
            upload = f"upload-{len(self.uploads)}"
            self.uploads[upload] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        elif call == "part":
            self.uploads[query.get("uploadId")][int(query.get("partNumber"))] = body
        elif call == "complete":
            parts = self.uploads.pop(query.get("uploadId"))
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
        elif call == "abort":
            self.uploads.pop(query.get("uploadId"), None)
            return web.Response(status=204)
        elif call == "list":
            return self._listed(query.get("prefix", ""))
        elif key not in self.objects:
            return _refusal(404, "NoSuchKey")
        elif call == "get":
            return web.Response(body=self.objects[key])
        return _done(call, body)

    def _listed(self, prefix: str) -> web.Response:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key></Contents>" for key in sorted(self.objects) if key.startswith(prefix)
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>")


def _call_of(method: str, key: str, query: object) -> str:
    assert hasattr(query, "__contains__")
    if method == "GET":
        return "get" if key else "list"
    if method == "HEAD":
        return "head"
    if method == "DELETE":
        return "abort"
    if method == "POST":
        return "begin" if "uploads" in query else "complete"
    return "part" if "partNumber" in query else "put"


def _done(call: str, body: bytes) -> web.Response:
    etag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
    if call == "complete":
        return _xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
    return web.Response(headers=etag)


def _refusal(status: int, code: str) -> web.Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)


def _xml(text: str, status: int = 200) -> web.Response:
    # botocore reads a name space that is there or not alike.
    return web.Response(body=re.sub(r"\s+<", "<", text).encode(), status=status, content_type="application/xml")
