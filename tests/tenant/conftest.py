from tests.tenant.people import authentik, house

__all__ = ["authentik", "house"]
