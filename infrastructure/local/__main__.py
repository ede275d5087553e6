"""`python -m infrastructure.local COMMAND`"""

import sys

from infrastructure.local.cli import main

if __name__ == "__main__":
    sys.exit(main())
