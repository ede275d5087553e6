"""Settings from the environment (12-factor): small, per service, refused at boot with one line per problem."""

from __future__ import annotations

import base64
import sys
from typing import Annotated, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

Port = Annotated[int, Field(ge=1, le=65535)]


def decode_key(text: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        ValueError: the text is not base64url.
    """
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError("must be base64url without padding") from error


def _is_32_bytes(secret: SecretStr) -> SecretStr:
    if len(decode_key(secret.get_secret_value())) != 32:
        raise ValueError("must be 32 bytes in base64url; make one with: openssl rand 32 | basenc --base64url")
    return secret


def _is_public_key(text: str) -> str:
    if len(decode_key(text)) != 32:
        raise ValueError("must be the 32 bytes of an Ed25519 public key in base64url")
    return text


Key32 = Annotated[SecretStr, AfterValidator(_is_32_bytes)]
"""A 32-byte secret in base64url without padding."""


def _is_http(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError("must be an http or https URL, or empty where no spans are collected")
    return url.rstrip("/")


OtlpEndpoint = Annotated[str, AfterValidator(_is_http)]
"""Where spans go, without ``/v1/traces``."""


class PublicKey(BaseModel):
    """The public half of an internal signing key and the process that owns it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    owner: str
    x: Annotated[str, AfterValidator(_is_public_key)]


class ServiceSettings(BaseSettings):
    """What every service is told; a subclass names the prefix in ``model_config`` and adds its own."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(description="TCP port to listen on.")
    mongo_uri: SecretStr = Field(min_length=1, description="MongoDB URI of this service's own user.")
    mongo_database: str = Field(description="Database that this service owns.")
    nats_url: SecretStr = Field(min_length=1, description="NATS URL of this service's own user.")
    internal_signing_key: Key32 = Field(description="Ed25519 seed of this service: 32 bytes, base64url.")
    internal_signing_kid: str = Field(description="Name of that key in INTERNAL_PUBLIC_KEYS.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    internal_public_keys: dict[str, PublicKey] = Field(
        validation_alias="INTERNAL_PUBLIC_KEYS", description='JSON: {"kid": {"owner": "gateway", "x": "…"}}.'
    )
    nats_prefix: str = Field(
        "", validation_alias="NATS_PREFIX", description="Prefix of streams and subjects; empty outside tests."
    )
    environment: str = Field("local", validation_alias="DEZKY_ENVIRONMENT", description="Name of this deployment.")
    otlp_endpoint: OtlpEndpoint = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets the spans; empty: none are made.",
    )


class ProjectingSettings(ServiceSettings):
    """What a service is told, too, that keeps projections of others' data."""

    owners: dict[str, str] = Field(
        default_factory=dict,
        description="JSON: service → URL, where snapshots for rebuilding and comparing projections come from.",
    )
    compare_hour_utc: int = Field(
        3, ge=0, le=23, description="Hour (UTC) from which on projections are compared with their owners, once a day."
    )


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """Read the environment, or end the process with status 2 and one clear line per problem."""
    try:
        return settings()
    except ValidationError as error:
        _refuse(settings, error)
    except SettingsError as error:  # a variable that should be JSON is none
        sys.stderr.write(f"{error}: {error.__cause__}\n")
        raise SystemExit(2) from error


def _refuse(settings: type[BaseSettings], error: ValidationError) -> NoReturn:
    prefix = settings.model_config.get("env_prefix", "")
    for problem in error.errors(include_input=False, include_url=False):
        if not problem["loc"]:  # a rule about several variables; what it says names them
            sys.stderr.write(f"{problem['msg'].removeprefix('Value error, ')}\n")
            continue
        name, *rest = (str(part) for part in problem["loc"])
        field = settings.model_fields.get(name)
        variable = name if field is None or field.validation_alias else f"{prefix}{name}".upper()
        where = ".".join([variable, *rest])
        reason = "is not set" if problem["type"] == "missing" else problem["msg"]
        sys.stderr.write(f"{where}: {reason}\n")
    raise SystemExit(2)
