"""`python -m infrastructure.backup`."""

import sys

from infrastructure.backup.cli import main

sys.exit(main())
