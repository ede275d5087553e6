"""``python -m services.billing``"""

from shared.start import start

start("services.billing.main")
