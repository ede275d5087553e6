"""`python -m services.audit`: the service alone, from environment variables."""

from shared.start import start

start("services.audit.main")
