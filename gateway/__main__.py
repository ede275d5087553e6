"""``python -m gateway``"""

from shared.start import start

start("gateway.main")
