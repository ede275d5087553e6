"""Files that only their owner may read, replaced whole so that a reader never sees half of one."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from infrastructure.local.errors import Obstacle


def write_private(path: Path, text: str) -> None:
    """Writes `text` with mode 0600, replacing the file in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def write_private_json(path: Path, content: Any) -> None:
    """Writes JSON, indented for the human who looks."""
    write_private(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in `path`, empty when there is no such file. Raises Obstacle, ending in `remedy`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as broken:
        raise Obstacle(f"{path} cannot be read ({broken})", remedy) from broken
    if not isinstance(content, dict):
        raise Obstacle(f"{path} is not a JSON object", remedy)
    return content
