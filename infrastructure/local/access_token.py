"""An access token of a demo person, by client credentials with their app password (Authentik's way)."""

import http.client
import json
from urllib.parse import urlencode

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.place import Place


def fetch_token(place: Place, credentials: Credentials, username: str, surface: str) -> str:
    """Asks the identity provider for an access token. Raises Obstacle for wrong names, StartFailed otherwise."""
    if surface not in seeds.SURFACES:
        raise Obstacle(f"There is no surface {surface!r}", f"SURFACE is one of {', '.join(seeds.SURFACES)}")
    if username not in credentials.people:
        known = ", ".join(sorted(credentials.people))
        raise Obstacle(f"There is no demo person {username!r}", f"AS is one of {known}")
    form = {
        "grant_type": "client_credentials",
        "client_id": seeds.client_id(surface),
        "username": username,
        "password": credentials.people[username].app_password,
        "scope": "openid profile email",
    }
    status, answer = _post(place.port(seeds.AUTHENTIK_OFFSET), "/application/o/token/", urlencode(form))
    if status != http.client.OK or "access_token" not in answer:
        reason = answer.get("error_description") or answer.get("error") or "no reason given"
        raise StartFailed(f"The identity provider answered {status}: {reason}")
    return str(answer["access_token"])


def _post(port: int, path: str, form: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, form, {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    except OSError as away:
        raise Obstacle(f"The identity provider is not reachable on port {port}", "Run `make up` first") from away
    except (http.client.HTTPException, ValueError) as broken:
        raise StartFailed(f"The identity provider answered no JSON: {broken}") from broken
    finally:
        connection.close()
