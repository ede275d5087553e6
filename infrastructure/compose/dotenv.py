"""`.env`: made, completed and read. Compose's own rules: `NAME=value`, or `NAME='value'` taken as it is."""

import re
from collections.abc import Mapping
from pathlib import Path

from infrastructure.compose.variables import SECTIONS, all_variables, complete
from infrastructure.local.errors import Obstacle
from infrastructure.local.private_files import write_private

_LINE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?:'(?P<quoted>[^']*)'|(?P<plain>[^'\"\s#]*))\s*")
_PLAIN = re.compile(r"[\w./:,@+=-]*")
_HEADER = """\
# A deployment's variables: `docker-compose.yml` reads them from `.env` in its own folder. Do not fill this in by hand:
#     make deployment-env DOMAIN=example.com EMAIL=you@example.com
# makes all secrets, and keeps what is already there. Keep `.env` as you keep the databases: it opens them.
"""


def example() -> str:
    """The file without secrets: every variable, what it is, and its default."""
    return _render({variable.name: variable.default for variable in all_variables()})


def read(path: Path) -> dict[str, str]:
    """The variables in `path`; none when there is no such file.

    Raises:
        Obstacle: a line is neither a variable, nor a comment, nor empty.
    """
    if not path.exists():
        return {}
    values = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise Obstacle(f"{path.name}, line {number} is no variable", "Write it as NAME=value or NAME='value'")
        values[match["name"]] = match["plain"] if match["quoted"] is None else match["quoted"]
    return values


def ensure(path: Path, said: Mapping[str, str]) -> list[str]:
    """Makes `path` hold every variable, mode 0600, and returns the names that were added. What is there stays.

    Variables that are not ours, such as COMPOSE_PROFILES, are kept at the end.

    Raises:
        Obstacle: the file cannot be read, or says another thing than `said`, which a human has just said.
    """
    known = read(path)
    for name, value in said.items():
        if known.get(name, value) not in {value, ""}:
            raise Obstacle(
                f"{path.name} says {name}={known[name]}", "Change it there if that is wrong: nothing was written"
            )
    values = complete(known | {name: value for name, value in said.items() if value})
    others = {name: value for name, value in known.items() if name not in values}
    write_private(path, _render(values | others))
    return [name for name, value in values.items() if value and not known.get(name)]


def _render(values: Mapping[str, str]) -> str:
    ours = {variable.name for variable in all_variables()}
    parts = [_HEADER]
    for title, variables in SECTIONS.items():
        lines = "\n\n".join(
            f"# {variable.text}\n{variable.name}={_quoted(values[variable.name])}" for variable in variables
        )
        parts.append(f"# ---- {title} ----\n\n{lines}\n")
    others = "".join(f"{name}={_quoted(value)}\n" for name, value in values.items() if name not in ours)
    return "\n".join([*parts, others] if others else parts)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else f"'{value}'"
