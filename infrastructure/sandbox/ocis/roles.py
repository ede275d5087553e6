"""Role definitions of shares and spaces; only those of spaces can be given on a drive's root."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.ocis.gate import Call, Gate, not_found

VIEWER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99"
EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"
MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
CAPABILITY = {VIEWER: 1, EDITOR: 2, MANAGER: 3}
READ = ("libre.graph/driveItem/basic/read", "libre.graph/driveItem/children/read", "libre.graph/driveItem/content/read")
WRITE = ("libre.graph/driveItem/upload/create", "libre.graph/driveItem/children/create")
MANAGE = ("libre.graph/driveItem/permissions/create", "libre.graph/driveItem/permissions/delete")


def _definition(identity: str, name: str, text: str, actions: tuple[str, ...], condition: str) -> dict[str, Any]:
    return {
        "id": identity,
        "displayName": name,
        "description": text,
        "rolePermissions": [{"allowedResourceActions": list(actions), "condition": f"exists @Resource.{condition}"}],
        "@libre.graph.weight": 0,
    }


OF_SPACES = (
    _definition(VIEWER, "Can view", "View and download.", READ, "Root"),
    _definition(EDITOR, "Can edit", "View, download, upload, edit, add and delete.", READ + WRITE, "Root"),
    _definition(MANAGER, "Can manage", "Edit, and manage members.", READ + WRITE + MANAGE, "Root"),
)
OF_ITEMS = (
    _definition("b1e2218d-eef8-4d4c-b82d-0f1a1b48f3b5", "Can view", "View and download.", READ, "Folder"),
    _definition("fb6c3e19-e378-47e5-b277-9732f9de6e21", "Can edit", "View, download and edit.", READ + WRITE, "Folder"),
)


def role_routes(gate: Gate) -> list[Route]:
    def every(_call: Call) -> Response:
        # An array, not {"value": []}: the one list of the API that the original does not wrap.
        return JSONResponse([*OF_ITEMS, *OF_SPACES])

    def one(call: Call) -> Response:
        for definition in (*OF_ITEMS, *OF_SPACES):
            if definition["id"] == call.path["role"]:
                return JSONResponse(definition)
        raise not_found("role")

    path = "/graph/v1beta1/roleManagement/permissions/roleDefinitions"
    return [gate.route(path, get=every), gate.route(path + "/{role}", get=one)]
