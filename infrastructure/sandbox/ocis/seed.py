"""What the seed file holds, taken from it at every start."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from infrastructure.sandbox.kit import Wire


class Seed(Wire):
    """`tokens` are the bearer tokens of the administrator; `issuer` is the identity provider of everybody else.

    `autoprovision` is PROXY_AUTOPROVISION_ACCOUNTS, `groups_claim` PROXY_AUTOPROVISION_CLAIM_GROUPS (empty: off).
    """

    public_url: str = Field(pattern=r"^https?://")
    tokens: tuple[Annotated[SecretStr, Field(min_length=16)], ...]
    issuer: str | None = Field(default=None, pattern=r"^https?://")
    autoprovision: bool = True
    groups_claim: str = ""
    username_match: str = Field(default="default", pattern=r"^(default|none)$")

    @field_validator("public_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")
