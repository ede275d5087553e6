"""``python -m services.health``"""

from shared.start import start

start("services.health.main")
