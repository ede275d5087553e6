"""``python -m services.partner``"""

from shared.start import start

start("services.partner.main")
