"""``python -m services.flags``"""

from shared.start import start

start("services.flags.main")
