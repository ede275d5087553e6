"""Strict JSON: an unknown member, a second value or a wrong type is 400."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from infrastructure.sandbox.ocis.gate import Refused


class Body(BaseModel):
    """A request body. What may not be written, such as `id`, is declared all the same: it has an error of its own."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)


Parsed = TypeVar("Parsed", bound=Body)


def parse(kind: type[Parsed], content: bytes) -> Parsed:
    """Raises Refused `invalidRequest`."""
    try:
        value: Any = json.loads(content)
        # A lone surrogate is JSON, but can neither be stored nor sent.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalidRequest", f"invalid request body: {error}") from None
    if not isinstance(value, dict):
        raise Refused(400, "invalidRequest", "invalid request body: expected an object")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Refused(400, "invalidRequest", f"invalid request body: {place}: {first['msg']}") from None
