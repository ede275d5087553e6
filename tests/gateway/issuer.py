"""An identity provider for tests: it serves discovery and keys over `httpx.MockTransport` and keeps a log."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx

from gateway.authenticator import Authenticator
from gateway.jwks import JwksSource, JwksTiming
from gateway.providers import Provider, Providers

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


class ManualTime:
    """Both clocks of the gateway, moved by hand: seconds since start, and the time of day."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW + self.seconds - 1_000, UTC)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Issuer:
    """Answers for one issuer: ``keys`` is what it publishes, ``answer`` replaces its answer to a path."""

    def __init__(self, issuer: str, *keys: dict) -> None:
        self.issuer = issuer
        self.keys = list(keys)
        self.answers: dict[str, httpx.Response | Exception] = {}
        self.asked: list[str] = []
        self.down = False
        self.discovery = {"issuer": issuer, "jwks_uri": f"{issuer}jwks/"}

    @property
    def fetches(self) -> int:
        """How many times the keys were asked for."""
        return sum(path.endswith("/jwks/") for path in self.asked)

    async def respond(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.down:
            raise httpx.ConnectError("the issuer is down")
        answer = self.answers.get(str(request.url))
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self.discovery)
        if str(request.url) == f"{self.issuer}jwks/":
            return httpx.Response(200, json={"keys": self.keys})
        return httpx.Response(404)


def client_of(*issuers: Issuer) -> httpx.AsyncClient:
    """A client in whose world only these issuers exist; they share the log of what was asked of nobody."""

    async def respond(request: httpx.Request) -> httpx.Response:
        for issuer in issuers:
            if str(request.url).startswith(issuer.issuer):
                return await issuer.respond(request)
        raise AssertionError(f"nobody may be asked for {request.url}")

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


def source_of(provider: Provider, issuer: Issuer, time: ManualTime, **timing: float) -> JwksSource:
    return JwksSource(provider, client_of(issuer), monotonic=time.monotonic, timing=JwksTiming(**timing))


def authenticator_of(
    providers: Providers, issuers: list[Issuer], time: ManualTime, cache_size: int = 100
) -> Authenticator:
    client = client_of(*issuers)
    sources = {provider: JwksSource(provider, client, monotonic=time.monotonic) for provider in providers}
    return Authenticator(providers, sources, clock=time, cache_size=cache_size)


def settings_of(issuer: str, *audiences: str, algorithms=("RS256",), surface="operator", **members) -> dict:
    assert urlsplit(issuer).scheme
    return {
        "issuer": issuer,
        "audiences": list(audiences),
        "algorithms": list(algorithms),
        "surface": surface,
        "identityProvider": "authentik",
        **members,
    }
