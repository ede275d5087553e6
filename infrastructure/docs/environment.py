"""``.env.example``: every variable of every settings class, with its description and its default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from infrastructure.docs.discovery import ROOT, settings_classes

_PLAIN = re.compile(r"[\w./:@,+-]*")
_HEADER = """\
# Every setting of every process. Made from the settings classes by `python -m infrastructure.docs env`.
#
# The local fleet (`make up`) makes all of them by itself. To run one process by hand, copy this file to `.env`,
# fill in what is required, and in a shell:  set -a; . ./.env; set +a; .venv/bin/python -m services.tenant
# Required variables and secrets are empty here. A line that begins with `#NAME=` is an option that is off.
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable.

    Attributes:
        shared: every process reads it under the same name, without a prefix.
    """

    name: str
    description: str
    required: bool
    secret: bool
    default: Any
    shared: bool

    def lines(self) -> str:
        """Its two lines: what it is for, and an assignment."""
        remarks = " ".join(word for word, true in (("Required.", self.required), ("Secret.", self.secret)) if true)
        comment = f"# {remarks} {self.description}" if remarks else f"# {self.description}"
        if self.required:
            return f"{comment}\n{self.name}="
        if self.default is None:
            return f"{comment}\n#{self.name}="
        return f"{comment}\n{self.name}={'' if self.secret else _quoted(self.default)}"


def variables_of(settings: type[BaseSettings]) -> Iterator[Variable]:
    """The variables of one settings class in the order of its fields.

    Raises:
        ValueError: a field has no description.
    """
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        if not field.description:
            raise ValueError(f"{settings.__name__}.{name} has no description")
        shared = isinstance(field.validation_alias, str)
        yield Variable(
            name=str(field.validation_alias) if shared else f"{prefix}{name}".upper(),
            description=" ".join(field.description.split()),
            required=field.is_required(),
            secret=_is_secret(field.annotation),
            default=_default(field),
            shared=shared,
        )


def render() -> dict[Path, str]:
    """The file, by its path."""
    shared: dict[str, Variable] = {}
    sections: list[str] = []
    for settings in settings_classes():
        own = []
        for variable in variables_of(settings):
            if variable.shared:
                shared.setdefault(variable.name, variable)
            else:
                own.append(variable.lines())
        sections.append(_section(settings.__module__.removesuffix(".settings"), own))
    common = _section("all processes", [variable.lines() for variable in shared.values()])
    return {ROOT / ".env.example": "\n".join([_HEADER, common, *sections])}


def _section(title: str, entries: list[str]) -> str:
    return f"# ---- {title} ----\n\n" + "\n\n".join(entries) + "\n"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _quoted(value: Any) -> str:
    """``value`` as a shell and an env file read it."""
    if isinstance(value, bool | list | tuple | dict | BaseModel):
        text = json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
    else:
        text = str(value)
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"
