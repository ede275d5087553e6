"""``python -m infrastructure.alive PORT``: the health check of a container of ours. Needs the standard library alone.

It asks for liveness, not readiness: a process whose database is away must not be restarted for that.
"""

import http.client
import sys

DEADLINE_SECONDS = 3.0


def alive(port: int) -> bool:
    """Whether `/livez` on this machine answers 200 in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if alive(int(sys.argv[1])) else 1)
