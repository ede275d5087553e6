"""Results of torture that are kept: what was done, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def keep(name: str, result: Mapping[str, Any]) -> str:
    """Write a result into `results/<name>.json`, with the time of now unless it has one, and return it as text."""
    document = {**result, "at": result.get("at") or datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps(document, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    return text


def kept(name: str) -> dict[str, Any]:
    """Return what is kept under a name; nothing where nothing is."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
