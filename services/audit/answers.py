"""The forms that a list is answered in: a page as JSON, or all of it as CSV or NDJSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import orjson
from fastapi import Depends, Header, Request, Response

from services.audit.exports import Exports
from services.audit.models import Query
from services.audit.schemas import Form, ScopedFilters
from services.audit.service import AuditService, Place
from shared.errors import Invalid
from shared.paging import link_to
from shared.spreadsheets import preferred
from shared.streams import Stream

_FORMS: Final[dict[str, Form]] = {"application/json": "json", "text/csv": "csv", "application/x-ndjson": "ndjson"}


@dataclass(frozen=True, slots=True)
class Lists:
    """Answers a request for a list in the form that it asks for."""

    audit: AuditService
    exports: Exports
    url: str
    accept: str

    async def send(self, filters: ScopedFilters, query: Query, actor_email: str | None = None) -> Response:
        """Answer `query`, which has its scope. Raises Invalid for a place in a list that is wanted whole."""
        form = filters.format or _FORMS[preferred(self.accept, tuple(_FORMS))]
        if form == "json":
            return await self._page(query, actor_email, Place(filters.cursor, filters.limit))
        for name in ("cursor", "limit"):
            if name in filters.model_fields_set:
                raise Invalid.field(name, "not_in_exports", "an export is the whole list: leave this out")
        export = await self.exports.begin(form, query, actor_email)
        return Stream(export.pieces, export.headers)

    async def _page(self, query: Query, actor_email: str | None, place: Place) -> Response:
        page = await self.audit.page(query, actor_email, place)
        body = orjson.dumps({"items": page.items, "next": page.next, "searchedTo": page.searched_to})
        headers = {**link_to(self.url, page.next), "vary": "accept"}
        return Response(body, headers=headers, media_type="application/json")


async def _lists(
    request: Request, accept: Annotated[str, Header(max_length=1_000, include_in_schema=False)] = ""
) -> Lists:
    deps = request.app.state.deps
    return Lists(deps.audit, deps.exports, str(request.url), accept)


Listing = Annotated[Lists, Depends(_lists)]
"""JSON, or the whole list for ``?format=csv|ndjson`` or the ``Accept`` of one of them."""
