"""A person was everywhere and is erased: whoever searches everything that the fleet keeps finds them nowhere."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from infrastructure.local import lifecycle, seeds
from tests.end_to_end.remains import DEAD, STREAM, Remains, administrator, caught_up, events, holds, messages
from tests.sandbox.authentik.browser import Inputs
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

EXPORTS = {f"export /api/audit{query}" for query in ("?format=ndjson", "?format=csv", "/export?reveal=true")}
# Where dead letters are laid that no consumer buries here.
GRAVE = "dead.flags-erasures"
# Each is refused by another service, which keeps who asked.
REFUSED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("POST", "/api/tenants/{slug}/suspend", {"reason": "unpaid"}),
    ("POST", "/api/partners/nordic/suspend", {"reason": "unpaid"}),
    ("POST", "/api/prices/any/archive", {}),
    ("POST", "/api/flags/any/kill", {}),
)


class Visitor:
    """A browser on a machine of its own; it keeps Secure cookies on loopback, as browsers do."""

    def __init__(self, fleet: Fleet, address: str) -> None:
        self._http = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=address), timeout=20)
        self._gateway = fleet.gateway
        self._jars: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, method: str, url: str, **more: Any) -> httpx.Response:
        address = httpx.URL(self._gateway).join(url)
        jar = self._jars.setdefault(f"{address.host}:{address.port}", {})
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        answer = await self._http.request(method, address, headers={**headers, **more.pop("headers", {})}, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name] = value
        return answer

    async def sign_in(self, username: str, password: str) -> None:
        """From our door to the provider's page and back, with a session in the end."""
        at = (await self.send("GET", "/auth/portal/login", params={"returnTo": "/"})).headers["location"]
        for _ in range(8):
            here = httpx.URL(self._gateway).join(at)
            answer = await self.send("GET", str(here))
            if answer.status_code == 200:
                csrf = Inputs(answer.text).inputs["csrf"]["value"] or ""
                form = {"csrf": csrf, "username": username, "password": password}
                answer = await self.send("POST", str(here), data=form)
            assert answer.status_code in {302, 303}, answer.text
            if here.path == "/auth/portal/callback":
                return
            at = str(here.join(answer.headers["location"]))
        raise AssertionError(f"the way never led back; it ended at {at}")

    async def write(self, method: str, path: str, body: Any) -> httpx.Response:
        """A write of our own page: with the field and the Origin that it has."""
        return await self.send(method, path, json=body, headers={"x-dezky-csrf": "1", "origin": self._gateway})


async def set_password(fleet: Fleet, username: str, password: str) -> None:
    """Do at the identity provider what the person does with their invitation."""
    token = lifecycle.credentials_of(fleet.place).authentik[seeds.API_TOKEN]
    root = f"{fleet.place.url(seeds.AUTHENTIK_OFFSET)}/api/v3/core/users/"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as http:
        (user,) = (await http.get(root, params={"username": username})).json()["results"]
        done = await http.post(f"{root}{user['pk']}/set_password/", json={"password": password})
        assert done.status_code == 204, done.text


async def invited(by: httpx.AsyncClient, path: str, **person: str) -> dict[str, Any]:
    answer = await by.post(path, json=person)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def admin_who_stays(fleet: Fleet, operator: httpx.AsyncClient, slug: str) -> None:
    """A tenant keeps an admin who has come."""
    email, password = f"stays-{secrets.token_hex(4)}@dezky.local", secrets.token_urlsafe(12)
    await invited(operator, f"/api/tenants/{slug}/users", email=email, name="Stays", role="admin")
    await set_password(fleet, email, password)
    async with Visitor(fleet, "127.0.0.1") as other:
        await other.sign_in(email, password)
        assert (await other.send("GET", "/api/me")).status_code == 200


async def live_a_little(person: Visitor, slug: str, email: str) -> None:
    """Change what they may, be refused by every service, and look at what the log says."""
    billing = {"contact": email, "company": "Acme", "address": None}
    changed = await person.write("PATCH", f"/api/tenants/{slug}", {"billing": billing})
    assert changed.status_code == 200, changed.text
    other = {"email": f"other-{secrets.token_hex(4)}@dezky.local", "name": "Somebody Else", "role": "member"}
    assert (await person.write("POST", f"/api/tenants/{slug}/users", other)).status_code == 201
    for method, path, body in REFUSED:
        refused = await person.write(method, path.format(slug=slug), body)
        assert refused.status_code == 403, (path, refused.text)
    listed = await person.send("GET", f"/api/tenants/{slug}/audit", params={"action": "tenant.*"})
    assert listed.status_code == 200, listed.text


async def settled(fleet: Fleet, seconds: float = 15.0) -> None:
    """Wait until all that was done is told, and all that was told is handled."""
    with fleet.root() as root:
        kept = [root[name]["outbox"] for name in root.list_database_names() if name not in {"admin", "local", "config"}]
        async with administrator(fleet) as admin:

            async def quiet() -> bool:
                told = not any(outbox.count_documents({"pending": True}) for outbox in kept)
                return told and await caught_up(admin)

            await eventually(quiet, seconds=seconds, what="everything is told and handled")


async def scrubbed(admin: Client, needles: list[bytes], count: int) -> None:
    """Wait until the dead letters, which are still as many, hold nothing of the person."""

    async def nothing() -> bool:
        letters = [raw async for raw in messages(admin, DEAD) if raw.startswith(GRAVE.encode())]
        return len(letters) == count and not any(holds(raw, needles) for raw in letters)

    await eventually(nothing, what="the dead letters have forgotten the person")


async def told_by_the_provider(operator: httpx.AsyncClient, action: str, **query: str) -> None:
    """Wait until the log has heard of it from Authentik, which it asks every few seconds."""
    query["action"] = f"authentik.{action}"

    async def heard() -> bool:
        return bool((await operator.get("/api/audit", params=query)).json()["items"])

    await eventually(heard, what=f"the log has heard {query}")


async def everybody_has_answered(operator: httpx.AsyncClient, person: str) -> None:
    """The report has an answer of every service but our own, whose last look comes later; each found something."""

    async def answered() -> bool:
        report = await operator.get(f"/api/users/{person}/erasure")
        assert report.status_code == 200, report.text
        parts = {part["service"]: part for part in report.json()["services"]}
        assert parts.keys() == {"tenant", "partner", "billing", "flags", "health", "audit"}
        assert report.json()["status"] == "under_way"
        return all(part["forgottenAt"] for name, part in parts.items() if name != "tenant")

    await eventually(answered, what="every service has answered the erasure")
    parts = (await operator.get(f"/api/users/{person}/erasure")).json()["services"]
    # Each has refused them but those two, to which the gateway lets nobody of the portal; the log had a key of theirs.
    assert [part["service"] for part in parts if not part["events"]] == ["health", "audit"]
    assert parts[-1]["keys"] >= 1


async def bury_what_names(person: str, admin: Client) -> int:
    """Bury every event by or about a person, as if nobody had been able to handle it; return how many there are."""
    count = 0
    async for subject, raw in events(admin):
        data = json.loads(raw)["data"]
        if person in {data["actor"]["id"], data["resource"]["id"]}:
            await admin.jetstream().publish(f"{GRAVE}.{subject.removeprefix('events.')}", raw)
            count += 1
    return count


async def test_a_search_of_everything_that_the_fleet_keeps_finds_an_erased_person_nowhere(fleet: Fleet) -> None:
    mark = secrets.token_hex(4)
    name, email, slug, password = f"Wilhelmina{mark}", f"w.{mark}@dezky.local", f"t-{mark}", secrets.token_urlsafe(12)
    address = ".".join(["127", *(str(100 + secrets.randbelow(155)) for _ in range(3))])
    needles = [name.lower().encode(), email.encode(), address.encode()]
    async with fleet.client("operator@dezky.local", "operator") as operator, Visitor(fleet, address) as person:
        async with fleet.client("staff@nordic.example", "portal") as staff:
            body = {"slug": slug, "name": "Acme", "plan": "business", "seats": 5}
            assert (await staff.post("/api/tenants", json=body)).status_code == 201
        await admin_who_stays(fleet, operator, slug)
        them = (await invited(operator, f"/api/tenants/{slug}/users", email=email, name=name, role="admin"))["userId"]
        await invited(operator, "/api/partners/nordic/users", email=email, name=name, role="staff")
        await set_password(fleet, email, password)
        await person.sign_in(email, password)
        await live_a_little(person, slug, email)
        await settled(fleet)
        # An operator looks for them in every way that leaves an address in a query.
        for path, query in (("/api/users", {"q": name}), ("/api/audit", {"actorEmail": email})):
            assert (await operator.get(path, params=query)).json()["items"]
        remains = Remains(fleet, operator)
        async with administrator(fleet) as admin:
            buried = await bury_what_names(them, admin)
        seen = await remains.places_of(needles)
        services = ("tenant", "partner", "billing", "flags")
        assert seen >= {f"stream {STREAM}", f"stream {DEAD}", "mongo tenant.people", *EXPORTS}
        assert seen >= {f"mongo {service}.outbox" for service in services}

        gone = await operator.post(f"/api/users/{them}/erase")
        assert (gone.status_code, gone.json()["status"]) == (200, "erased"), gone.text
        await settled(fleet)
        await everybody_has_answered(operator, them)
        # It tells in order: of the sign-in before, perhaps only now, and that was sealed for nobody.
        await told_by_the_provider(operator, "model_deleted", since=gone.json()["erasedAt"])
        async with administrator(fleet) as admin:
            await scrubbed(admin, needles, buried)
            await admin.jetstream().purge_stream(DEAD, subject=f"{GRAVE}.>")
        left = {needle: await remains.places_of([needle]) for needle in needles}
        assert left == {needle: {f"stream {STREAM}"} for needle in needles}, left
        assert (await person.send("GET", "/api/me")).status_code == 401
        verified = (await operator.get("/api/audit/verify")).json()
        assert (verified["ok"], verified.get("break")) == (True, None)


async def test_the_search_sees_what_lies_among_the_dead_letters_and_beside_the_services(fleet: Fleet) -> None:
    needle = f"needle-{secrets.token_hex(8)}"
    async with fleet.client("operator@dezky.local", "operator") as operator, administrator(fleet) as admin:
        remains = Remains(fleet, operator)
        assert await remains.places_of([needle.encode()]) == set()
        kept = await admin.jetstream().publish("dead.audit-chain.tests.needle.v1", needle.encode())
        log = fleet.place.logs / "tenant.log.needle"
        log.write_text(f"event=x email={needle.upper()}\n")
        with fleet.root() as root:
            root["billing"]["needles"].insert_one({"deep": [{"within": needle}]})
            seen = await remains.places_of([needle.encode()])
            root["billing"].drop_collection("needles")
        log.unlink()
        await admin.jetstream().delete_msg(DEAD, kept.seq)
        assert seen == {f"stream {DEAD}", "mongo billing.needles", f"log {log.name}"}
        assert not [raw async for raw in messages(admin, DEAD) if needle.encode() in raw]
