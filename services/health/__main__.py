"""``python -m services.health``"""

from services.health.main import main

main()
