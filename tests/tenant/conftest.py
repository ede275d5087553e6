from tests.tenant.desk import desk
from tests.tenant.people import authentik, house

__all__ = ["authentik", "desk", "house"]
