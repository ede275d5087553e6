"""`python -m infrastructure.sandbox.authentik --port P --state DIR --seed FILE`"""

import argparse
from pathlib import Path

from infrastructure.sandbox.authentik.app import build
from infrastructure.sandbox.authentik.seed import load_seed
from infrastructure.sandbox.kit import serve


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="infrastructure.sandbox.authentik", description="Stand-in for Authentik 2026.8"
    )
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where its state is kept")
    parser.add_argument("--seed", type=Path, required=True, metavar="FILE", help="JSON with what to begin with")
    arguments = parser.parse_args()
    serve(build(arguments.state, load_seed(arguments.seed)), arguments.port)


if __name__ == "__main__":
    main()
