"""Wiring of the browser sign-in: everything that a surface with a client at its identity provider needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from gateway.directory import Directory
from gateway.login import Login, LoginState
from gateway.oidc import ClientIdentity, OidcClient
from gateway.provider_tokens import ProviderTokens, Verifies
from gateway.providers import Provider, Providers, SignInClient
from gateway.routes import Surface
from gateway.sealing import Keyring
from gateway.session_door import SessionDoor
from gateway.session_events import SessionEvents
from gateway.session_store import BUCKET, SessionStore
from gateway.sessions import Sessions
from gateway.signin import SignIn, SignInPages
from shared.bucket import Bucket
from shared.bus import Bus
from shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Foundations:
    """What the sign-in stands on; ``now`` is a monotonic clock in seconds, ``transport`` one for tests."""

    bus: Bus
    keyring: Keyring
    verifier: Verifies
    directory: Directory
    clock: Clock
    now: Callable[[], float]
    transport: httpx.AsyncBaseTransport | None = None


class Browser:
    """The browser sign-in of all surfaces, as a part of the process.

    Attributes:
        pages: what is under ``/auth``.
        door: lets requests of the API in by their cookie.
    """

    def __init__(
        self, foundations: Foundations, providers: Providers, clients: Mapping[Surface, SignInClient], public_url: str
    ) -> None:
        self._oidc: list[OidcClient] = []
        self._sessions: dict[Surface, Sessions] = {}
        surfaces: dict[Surface, SignIn] = {}
        for surface, client in clients.items():
            provider = providers.of_client(surface, client.client_id)
            surfaces[surface] = self._surface(foundations, provider, client, public_url.rstrip("/"))
        self.pages = SignInPages(surfaces)
        self.door = SessionDoor(self._sessions, public_url)

    def _surface(self, foundations: Foundations, provider: Provider, client: SignInClient, public_url: str) -> SignIn:
        surface = provider.surface
        identity = ClientIdentity(
            client_id=client.client_id,
            client_secret=client.client_secret.get_secret_value(),
            redirect_uri=f"{public_url}/auth/{surface}/callback",
            home=f"{public_url}/",
        )
        oidc = OidcClient(provider.issuer, identity, now=foundations.now, transport=foundations.transport)
        tokens = ProviderTokens(foundations.verifier, provider, client.client_id)
        store = SessionStore(surface, foundations.keyring, Bucket(foundations.bus, BUCKET))
        events = SessionEvents(foundations.bus, surface, provider.identity_provider)
        sessions = Sessions(store, events, oidc, tokens, foundations.clock)
        login = Login(oidc, tokens, foundations.directory, foundations.clock)
        state = LoginState(foundations.keyring.sealer(f"{surface} login"), surface, foundations.clock)
        self._oidc.append(oidc)
        self._sessions[surface] = sessions
        return SignIn(surface, sessions, oidc, tokens, login, state)

    def start(self) -> None:
        """Nothing to do: the first visit asks the provider."""

    async def close(self) -> None:
        """Finish what was begun with the provider."""
        for sessions in self._sessions.values():
            await sessions.close()
        for client in self._oidc:
            await client.close()
