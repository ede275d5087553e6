"""``python -m services.tenant``"""

from shared.start import start

start("services.tenant.main")
