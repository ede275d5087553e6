"""What the seed file holds: the administrator and the limits, taken from the file at every start."""

from pydantic import Field, SecretStr, field_validator

from infrastructure.sandbox.kit import Wire


class Limits(Wire):
    """The original's defaults. Rates are per minute: by account, and by address for whoever has none."""

    calls_in_request: int = Field(default=16, ge=1)
    objects_in_get: int = Field(default=500, ge=1)
    objects_in_set: int = Field(default=500, ge=1)
    concurrent_requests: int = Field(default=4, ge=1)
    request_bytes: int = Field(default=10_000_000, ge=1)
    authenticated_per_minute: int = Field(default=1000, ge=1)
    anonymous_per_minute: int = Field(default=100, ge=1)


class Seed(Wire):
    """`admin_user` is an address; its domain and account exist from the first start on.

    `destroy_delay_ms` is how long the mail of a destroyed account waits for its task.
    """

    admin_user: str = Field(pattern=r"^[a-z0-9._-]+@[a-z0-9-]+(\.[a-z0-9-]+)+$")
    admin_secret: SecretStr = Field(min_length=8)
    api_key: SecretStr = Field(min_length=16)
    limits: Limits = Limits()
    destroy_delay_ms: int = Field(default=1000, ge=0, le=600_000)

    @field_validator("api_key")
    @classmethod
    def _looks_like_a_key(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith("API_"):
            raise ValueError("an API key begins with API_")
        return value
