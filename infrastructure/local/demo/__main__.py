"""``python -m infrastructure.local.demo``"""

import sys

from infrastructure.local.demo.story import main

sys.exit(main())
