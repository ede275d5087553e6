"""Settings of the gateway: environment variables ``GATEWAY_*``."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.providers import Provider, Providers, SignInClient, Surface
from gateway.upstream import Origin
from shared.settings import Key32, OtlpEndpoint, Port, decode_key


def _network(text: str) -> str:
    return str(ip_network(text))


def _origin(url: str) -> str:
    return Origin.parse(url).url


def _keys(secret: SecretStr) -> SecretStr:
    if any(len(decode_key(key)) != 32 for key in secret.get_secret_value().split(",")):
        raise ValueError("must be keys of 32 bytes in base64url without padding, joined by commas")
    return secret


class GatewaySettings(BaseSettings):
    """What the gateway is told. A provider without issuer, audience or algorithm stops the start."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", extra="ignore", frozen=True, populate_by_name=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8080, description="TCP port to listen on.")
    public_url: str = Field("", description="Where clients reach the gateway; http://HOST:PORT unless given.")
    providers: list[Provider] = Field(
        description="JSON list of {issuer, audiences, algorithms, surface, identityProvider, jwksUri?}."
    )
    upstreams: dict[str, Annotated[str, AfterValidator(_origin)]] = Field(
        description='JSON: {"tenant": "http://127.0.0.1:8081", …}.'
    )
    nats_url: SecretStr | None = Field(
        None, description="NATS URL of the gateway's own user; without it bearer requests are still served."
    )
    internal_signing_key: Key32 = Field(description="Ed25519 seed of the gateway: 32 bytes, base64url.")
    internal_signing_kid: str = Field(description="Name of that key in INTERNAL_PUBLIC_KEYS.")
    session_key: Annotated[SecretStr, AfterValidator(_keys)] | None = Field(
        None,
        description="Encrypts browser sessions: 32 bytes, base64url. Several are joined by commas: the first "
        "encrypts, all decrypt; a key that is dropped signs out whom it signed in.",
    )
    sign_in: dict[Surface, SignInClient] = Field(
        default={},
        description='Secret. JSON: {"operator": {"clientId": …, "clientSecret": …}, "portal": …}: the surfaces that '
        "browsers can sign in on. The client is an audience of a provider of that surface. Needs GATEWAY_SESSION_KEY "
        "and GATEWAY_NATS_URL.",
    )
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        default=[], description="JSON list of networks (CIDR) whose X-Forwarded-For is believed."
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(2_048, description="Client connections at once.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    nats_prefix: str = Field(
        "", validation_alias="NATS_PREFIX", description="Prefix of streams and subjects; empty outside tests."
    )
    environment: str = Field("local", validation_alias="DEZKY_ENVIRONMENT", description="Name of this deployment.")
    otlp_endpoint: OtlpEndpoint = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets the spans; empty: none are made.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _bound_pair_by_pair(cls, entries: Any) -> Any:
        """Refuse in the words of ``gateway.providers``, which name the provider and the remedy."""
        return list(Providers.from_settings(entries))

    @field_validator("upstreams")
    @classmethod
    def _has_a_directory(cls, upstreams: dict[str, str]) -> dict[str, str]:
        if "tenant" not in upstreams:
            raise ValueError("must name the service tenant, which knows who people are")
        return upstreams

    @field_validator("sign_in")
    @classmethod
    def _is_complete(cls, clients: dict[Surface, SignInClient], info: ValidationInfo) -> dict[Surface, SignInClient]:
        # A setting that was refused itself is absent here and has a line of its own.
        for name in ("session_key", "nats_url"):
            if clients and info.data.get(name, "refused") is None:
                raise ValueError(f"needs GATEWAY_{name.upper()}, too")
        if "providers" in info.data:
            for surface, client in clients.items():
                Providers(info.data["providers"]).of_client(surface, client.client_id)
        return clients

    @property
    def session_keys(self) -> list[bytes]:
        """The keys of browser sessions, the one that encrypts first."""
        text = self.session_key.get_secret_value() if self.session_key is not None else ""
        return [decode_key(key) for key in text.split(",") if key]

    @property
    def base_url(self) -> str:
        """Where clients reach the gateway, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")
