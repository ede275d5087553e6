"""Who may issue tokens for whom: the configured identity providers, bound to their audiences pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

Surface = Literal["operator", "portal"]
Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]


class ProviderConfigurationError(ValueError):
    """The list of providers cannot be used; the message is one line that names the provider and the remedy."""


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise ValueError("must be a plain URL: no user, query, fragment or blank")
    return value


Text = Annotated[str, Field(min_length=1)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


class Provider(BaseModel):
    """One issuer, what it may sign, for whom, and what a person who comes from it stands on.

    Attributes:
        issuer: compared character by character with ``iss``; a trailing slash counts.
        audiences: any one of them in ``aud`` is enough.
        jwks_uri: found by discovery when not given.
        identity_provider: the name under which subjects are unique; several providers may share it.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", strict=True)

    issuer: WebAddress
    audiences: Annotated[frozenset[Text], Field(min_length=1, strict=False)]
    algorithms: Annotated[frozenset[Algorithm], Field(min_length=1, strict=False)]
    surface: Surface
    identity_provider: Text
    jwks_uri: WebAddress | None = None


class SignInClient(BaseModel):
    """Who the gateway is at a surface's issuer when it signs browsers in; ``client_id`` is one of its audiences."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    client_id: Text
    client_secret: Annotated[SecretStr, Field(min_length=1)]


class Providers:
    """All providers. A pair of issuer and audience belongs to one of them or to none.

    Raises:
        ProviderConfigurationError: none given, or two providers claim the same pair.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        if not providers:
            raise ProviderConfigurationError("no provider is configured: no token could ever be accepted")
        self._by_pair: dict[tuple[str, str], Provider] = {}
        for number, provider in enumerate(providers, start=1):
            for audience in sorted(provider.audiences):
                if (provider.issuer, audience) in self._by_pair:
                    raise ProviderConfigurationError(
                        f"provider {number} ({provider.issuer}): audiences: {audience} already belongs to "
                        "another provider of the same issuer"
                    )
                self._by_pair[provider.issuer, audience] = provider
        self._providers = tuple(providers)
        self._issuers = frozenset(provider.issuer for provider in providers)

    @classmethod
    def from_settings(cls, entries: Sequence[Mapping[str, Any]]) -> Providers:
        """Build from settings: ``{issuer, audiences, algorithms, surface, identityProvider, jwksUri?}`` each.

        Raises:
            ProviderConfigurationError: the first thing wrong.
        """
        if isinstance(entries, str | bytes | Mapping):
            raise ProviderConfigurationError("the providers must be a list")
        return cls([_provider(number, entry) for number, entry in enumerate(entries, start=1)])

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    def knows_issuer(self, issuer: str) -> bool:
        """Tell an unknown issuer from a known one that speaks to somebody else."""
        return issuer in self._issuers

    def select(self, issuer: str, audience: str | Sequence[str]) -> Provider | None:
        """Return the provider of a token that names this issuer and this audience or these audiences.

        Audiences that are nobody's are ignored: a token may be meant for others, too. If the rest name more
        than one provider, the token stands on two surfaces at once, and there is no answer.
        """
        named = (audience,) if isinstance(audience, str) else audience
        found = {self._by_pair[issuer, name] for name in named if (issuer, name) in self._by_pair}
        return found.pop() if len(found) == 1 else None

    def of_client(self, surface: Surface, client_id: str) -> Provider:
        """Return the provider of ``surface`` that has ``client_id`` among its audiences.

        Raises:
            ProviderConfigurationError: there is not exactly one.
        """
        found = [p for p in self._providers if p.surface == surface and client_id in p.audiences]
        if len(found) != 1:
            raise ProviderConfigurationError(
                f"sign-in on {surface}: {len(found)} providers of this surface have the audience {client_id}, not one"
            )
        return found[0]


def _provider(number: int, entry: Mapping[str, Any]) -> Provider:
    try:
        return Provider.model_validate(entry)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
    issuer = entry.get("issuer") if isinstance(entry, dict) else None
    name = f"provider {number} ({issuer})" if isinstance(issuer, str) and issuer else f"provider {number}"
    field = str(problem["loc"][0]) if problem["loc"] else "entry"
    remedy = "is missing" if problem["type"] == "missing" else problem["msg"]
    if field == "algorithms" and problem["type"] == "literal_error":
        remedy = "each must be one of RS256, PS256, ES256 or EdDSA"
    elif problem["type"] == "too_short":
        remedy = "names none"
    line = f"{name}: {field}: {remedy}"
    raise ProviderConfigurationError(line.replace("\r", " ").replace("\n", " "))
