"""``python -m services.flags``"""

from services.flags.main import main

main()
