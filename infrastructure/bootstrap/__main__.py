"""`python -m infrastructure.bootstrap [--only mongo,nats,s3,authentik]`"""

import sys

from infrastructure.bootstrap.cli import main

if __name__ == "__main__":
    sys.exit(main())
