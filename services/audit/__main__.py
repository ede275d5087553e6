"""`python -m services.audit`: the service alone, from environment variables."""

from services.audit.main import build
from services.audit.settings import AuditSettings
from shared.app import serve
from shared.settings import load


def main() -> None:
    settings = load(AuditSettings)
    serve(build(settings), settings, "audit")


if __name__ == "__main__":
    main()
