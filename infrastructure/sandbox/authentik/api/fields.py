"""Members of request bodies, and the original's words for what is wrong with them. Unknown members are ignored."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from infrastructure.sandbox.authentik.api.gate import ApiError

MESSAGES = {
    "missing": "This field is required.",
    "string_type": "Not a valid string.",
    "string_too_short": "This field may not be blank.",
    "string_too_long": "Ensure this field has no more than {max_length} characters.",
    "string_pattern_mismatch": "Enter a valid value.",
    "bool_type": "Must be a valid boolean.",
    "bool_parsing": "Must be a valid boolean.",
    "int_type": "A valid integer is required.",
    "int_parsing": "A valid integer is required.",
    "list_type": "Expected a list of items.",
    "dict_type": "Value must be a dictionary, and not have any duplicate keys.",
    "uuid_type": "Must be a valid UUID.",
    "uuid_parsing": "Must be a valid UUID.",
    "literal_error": '"{input}" is not a valid choice.',
}
ROW_MAX = 2**63 - 1


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul", "Null characters are not allowed.")
    return value


def _address(value: str) -> str:
    local, at, domain = value.rpartition("@")
    odd = any(character.isspace() for character in value)
    if value and (odd or not (local and at and domain) or domain.startswith(".") or domain.endswith(".")):
        raise PydanticCustomError("email", "Enter a valid email address.")
    return value


def _path(value: str) -> str:
    if value.startswith("/") or value.endswith("/"):
        raise PydanticCustomError("path", "No leading or trailing slashes allowed.")
    if "" in value.split("/"):
        raise PydanticCustomError("path", "No empty segments in user path allowed.")
    return value


Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_without_nul)]
Required = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_without_nul)]
Username = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=150), AfterValidator(_without_nul)
]
Slug = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[-a-zA-Z0-9_]+$")]
Email = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_without_nul)],
    AfterValidator(_address),
]
Path = Annotated[Required, AfterValidator(_path)]
Attributes = dict[str, Any]
RowId = Annotated[int, Field(ge=0, le=ROW_MAX)]


class Body(BaseModel):
    """What a client may write; `model_fields_set` tells what it did write."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Shape = TypeVar("Shape", bound=Body)


def parse(shape: type[Shape], body: Mapping[str, Any]) -> Shape:
    """Raises ApiError 400 with every wrong member and what is wrong with it."""
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors(include_url=False):
            problems.setdefault(str(problem["loc"][0]), []).append(_message(problem))
        raise ApiError(400, problems) from None


def _message(problem: Mapping[str, Any]) -> str:
    if problem["input"] is None:
        return "This field may not be null."
    template = MESSAGES.get(problem["type"])
    if template is None:
        return str(problem["msg"])
    return template.format(**{"input": problem["input"], **problem.get("ctx", {})})


def wrong(field: str, message: str) -> ApiError:
    """400 for a member that only the store can judge."""
    return ApiError(400, {field: [message]})


def no_such(field: str, pk: object) -> ApiError:
    return wrong(field, f'Invalid pk "{pk}" - object does not exist.')


TAKEN = "This field must be unique."
