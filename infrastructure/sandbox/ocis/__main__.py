"""`python -m infrastructure.sandbox.ocis --port P --state DIR --seed FILE`"""

import argparse
from pathlib import Path

from infrastructure.sandbox.kit import read_seed, serve
from infrastructure.sandbox.ocis.app import build
from infrastructure.sandbox.ocis.seed import Seed


def main() -> None:
    parser = argparse.ArgumentParser(prog="infrastructure.sandbox.ocis", description="Stand-in for ownCloud OCIS")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where its state is kept")
    parser.add_argument("--seed", type=Path, required=True, metavar="FILE", help="JSON with what to begin with")
    arguments = parser.parse_args()
    serve(build(arguments.state, read_seed(Seed, arguments.seed)), arguments.port)


if __name__ == "__main__":
    main()
