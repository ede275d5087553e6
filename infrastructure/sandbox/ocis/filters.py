"""The few $filter expressions that are understood; any other is 501, except a broken one of drives, which is 400."""

import re
import sqlite3
from collections.abc import Callable

from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.gate import Refused

# The role that every user but the administrator has.
USER_ROLE = "d7beeea8-8ff4-406b-8fb6-ab2dd81e6b11"
ADMIN_ROLE = "71881883-1768-46bd-a24d-a356a2afdf7f"
MEMBER_OF = re.compile(r"memberOf/any\((\w+):\1/id eq '?([^')]*)'?\)")
ASSIGNED = re.compile(r"appRoleAssignments/any\((\w+):\1/appRoleId eq '?([^')]*)'?\)")
USER_TYPE = re.compile(r"userType eq '(\w*)'")
DISPLAY_NAME = re.compile(r"(startswith|contains)\(displayName,\s*'((?:[^']|'')*)'\)")
OF_DRIVE = re.compile(r"(driveType|id) eq '([^']*)'")
Test = Callable[[sqlite3.Row], bool]


def user_filter(text: str, directory: Directory) -> Test:
    """Terms joined all by `and`, or all by `or`. Raises Refused 501 `notSupported`."""
    for word, combine in ((" and ", all), (" or ", any)):
        if word in text:
            tests = [_user_term(term.strip(), directory) for term in text.split(word)]
            return lambda row, combine=combine, tests=tests: combine(test(row) for test in tests)  # type: ignore[misc]
    return _user_term(text.strip(), directory)


def _user_term(term: str, directory: Directory) -> Test:
    if found := MEMBER_OF.fullmatch(term):
        members = {row["id"] for row in directory.members_of(found[2])}
        return lambda row: row["id"] in members
    if found := ASSIGNED.fullmatch(term):
        role, administrator = found[2], directory.administrator()["id"]
        return lambda row: role == (ADMIN_ROLE if row["id"] == administrator else USER_ROLE)
    if found := USER_TYPE.fullmatch(term):
        wanted = found[1]
        return lambda _row: wanted == "Member"
    if found := DISPLAY_NAME.fullmatch(term):
        begins, text = found[1] == "startswith", found[2].replace("''", "'").casefold()
        if begins:
            return lambda row: row["display_name"].casefold().startswith(text)
        return lambda row: text in row["display_name"].casefold()
    raise Refused(501, "notSupported", "unsupported filter")


def drive_filter(text: str) -> Test:
    """Raises Refused 400 `invalidRequest`."""
    found = OF_DRIVE.fullmatch(text.strip())
    if found is None:
        raise Refused(400, "invalidRequest", "unsupported filter operand")
    column, value = ("kind" if found[1] == "driveType" else "id"), found[2]
    return lambda row: row[column] == value
