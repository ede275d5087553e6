"""``python -m services.partner``"""

from services.partner.main import main

main()
