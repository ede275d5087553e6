"""One JSON object a line, as the audit service writes them, with the members that it leaves empty left empty.

There is no id: who reads keys on the offset in the file and a hash of the line.
"""

import json
import os
from pathlib import Path


class Audit:
    """Appends to the file (mode 0600). A line is written by one call, so that a kill leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def record(self, action: str, message: str, **about: str) -> None:
        """`about` holds SpaceID, UserID, GroupID or ShareID and its companions. `User` and `Time` stay empty."""
        line = {
            "RemoteAddr": "",
            "User": "",
            "URL": "",
            "Method": "",
            "UserAgent": "",
            "Time": "",
            "App": "admin_audit",
            "Message": message,
            "Action": action,
            "CLI": False,
            "Level": 1,
            **about,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")
