"""Somebody at a browser: cookies by origin, redirects, forms; repeats what a killed gateway did not answer."""

import time
import uuid
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.2
_AWAY = frozenset({502, 503, 504})
_MOST_REDIRECTS = 10


class _Form(HTMLParser):
    """The first form of a page: where it goes and what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action, self._inside = values.get("action", ""), True
        elif tag == "input" and self._inside and "name" in values:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class Browser:
    """One person's browser, signed in on one surface of the gateway."""

    def __init__(self, gateway: str, surface: str) -> None:
        self._gateway = gateway
        self._surface = surface
        self._http = httpx.Client(timeout=20, trust_env=False)
        self._cookies: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        self._http.close()

    def sign_in(self, username: str, password: str) -> None:
        """Sign in through the login page; raises AssertionError with the page's words if that fails."""
        page = self._visit("GET", f"{self._gateway}/auth/{self._surface}/login")
        for _ in range(3):
            form = _Form()
            form.feed(page.text)
            if form.action is None:
                break
            known = {"username": username, "password": password}
            data = {name: known.get(name, value) for name, value in form.fields.items()}
            page = self._visit("POST", urljoin(str(page.url), form.action or str(page.url)), data=data)
        session = self.call("GET", f"/auth/{self._surface}/session")
        assert session.status_code == httpx.codes.OK, f"{username} is not signed in: {session.text}"

    def call(self, method: str, path: str, body: Any = None, /, **params: Any) -> httpx.Response:
        """Call the gateway as a single-page front end does; a write carries a key and is repeated under it."""
        headers = {"Origin": self._gateway, "X-Dezky-CSRF": "1", "X-Dezky-Surface": self._surface}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        url = f"{self._gateway}{path}"
        return self._send(method, url, headers=headers, json=body, params=params or None)

    def _visit(self, method: str, url: str, **kwargs: Any) -> httpx.Response:
        answer = self._send(method, url, **kwargs)
        for _ in range(_MOST_REDIRECTS):
            if not answer.is_redirect:
                break
            answer = self._send("GET", urljoin(str(answer.url), answer.headers["location"]))
        return answer

    def _send(self, method: str, url: str, headers: dict[str, str] | None = None, **kwargs: Any) -> httpx.Response:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            # By hand, because a library keeps cookies that are Secure from plain http, loopback or not.
            jar = self._cookies.setdefault(origin, {})
            cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
            try:
                answer = self._http.request(method, url, headers={**(headers or {}), **cookie}, **kwargs)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                self._remember(jar, answer)
                if answer.status_code not in _AWAY or time.monotonic() > deadline:
                    return answer
            time.sleep(_PAUSE_SECONDS)

    @staticmethod
    def _remember(jar: dict[str, str], answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            pair, *attributes = line.split(";")
            name, _, value = pair.strip().partition("=")
            expired = any(a.strip().lower() in {"max-age=0", "max-age=-1"} for a in attributes)
            if expired or not value:
                jar.pop(name, None)
            else:
                jar[name] = value
