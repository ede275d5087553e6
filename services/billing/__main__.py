"""``python -m services.billing``"""

from services.billing.main import main

main()
