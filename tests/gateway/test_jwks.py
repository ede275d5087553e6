import asyncio
import gzip
import json

import httpx
import pytest
from prometheus_client import REGISTRY

from gateway.jwks import MAX_DOCUMENT_BYTES
from gateway.providers import Providers
from gateway.token_errors import KeysUnavailable
from tests.gateway.issuer import Issuer, ManualTime, client_of, settings_of, source_of
from tests.gateway.signing import jwk_of, new_rsa
from tests.support.waiting import eventually

ISSUER = "https://id.example/application/o/dezky/"
DISCOVERY = f"{ISSUER}.well-known/openid-configuration"
JWKS = f"{ISSUER}jwks/"

ONE = jwk_of(new_rsa(), kid="one", alg="RS256", use="sig")
TWO = jwk_of(new_rsa(), kid="two", alg="RS256", use="sig")


def provider(**members):
    (found,) = Providers.from_settings([settings_of(ISSUER, "dezky", **members)])
    return found


@pytest.fixture
def time():
    return ManualTime()


@pytest.fixture
def issuer():
    return Issuer(ISSUER, ONE)


@pytest.fixture
def source(issuer, time):
    return source_of(provider(), issuer, time)


def ids(keys):
    return [key.key_id for key in keys.keys]


async def settle(source):
    """Wait for the fetch under way, if there is one."""

    async def landed():
        return source._flight is None

    await eventually(landed, pause=0)


async def test_keys_are_found_by_discovery(source, issuer):
    assert ids(await source.keys()) == ["one"]
    assert issuer.asked == [DISCOVERY, JWKS]


async def test_a_configured_address_needs_no_discovery(issuer, time):
    keys = await source_of(provider(jwksUri=JWKS), issuer, time).keys()
    assert ids(keys) == ["one"]
    assert issuer.asked == [JWKS]


async def test_an_issuer_without_a_trailing_slash_is_discovered_below_it(time):
    issuer = Issuer("https://id.example/x", ONE)
    issuer.discovery["jwks_uri"] = "https://id.example/x/keys"
    issuer.answers["https://id.example/x/keys"] = httpx.Response(200, json={"keys": [ONE]})
    (found,) = Providers.from_settings([settings_of("https://id.example/x", "dezky")])
    await source_of(found, issuer, time).keys()
    assert issuer.asked == [
        "https://id.example/x/.well-known/openid-configuration",
        "https://id.example/x/keys",
    ]


async def test_keys_are_fetched_once_and_kept(source, issuer):
    first = await source.keys()
    assert await source.keys() is first
    assert source.current() is first
    assert issuer.fetches == 1


async def test_a_hundred_callers_share_one_fetch(source, issuer):
    found = await asyncio.gather(*(source.keys() for _ in range(100)))
    assert len(set(map(id, found))) == 1
    assert issuer.fetches == 1


async def test_a_caller_that_gives_up_does_not_take_the_fetch_with_it(source, issuer):
    impatient = asyncio.create_task(source.keys())
    patient = asyncio.create_task(source.keys())
    await asyncio.sleep(0)
    impatient.cancel()
    assert ids(await patient) == ["one"]
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert issuer.fetches == 1


async def test_keys_are_renewed_in_the_background_before_they_expire(source, issuer, time):
    old = await source.keys()
    issuer.keys = [ONE, TWO]
    time.advance(301)
    assert await source.keys() is old
    await settle(source)
    assert ids(source.current()) == ["one", "two"]
    assert issuer.fetches == 2


async def test_expired_keys_are_renewed_before_they_are_used_again(source, issuer, time):
    await source.keys()
    issuer.keys = [TWO]
    time.advance(601)
    assert source.current() is None
    assert ids(await source.keys()) == ["two"]


async def test_the_same_keys_again_are_the_same_object(source, issuer, time):
    first = await source.keys()
    time.advance(601)
    assert await source.keys() is first
    assert issuer.fetches == 2


async def test_stale_keys_are_served_while_the_issuer_is_down_and_no_longer_than_a_day(source, issuer, time):
    keys = await source.keys()
    issuer.down = True
    for hours in range(1, 24):
        time.advance(3_600)
        assert await source.keys() is keys, f"after {hours} hours"
        await settle(source)
    time.advance(3_601)
    with pytest.raises(KeysUnavailable) as caught:
        await source.keys()
    assert caught.value.status == 503
    assert caught.value.retry_after >= 1


async def test_an_outage_costs_one_attempt_per_cool_down_and_nobody_waits_for_it(source, issuer, time):
    keys = await source.keys()
    issuer.down = True
    time.advance(601)
    await source.keys()
    asked = len(issuer.asked)
    for _ in range(50):
        assert source.current() is keys
    await settle(source)
    assert len(issuer.asked) == asked
    time.advance(11)
    assert source.current() is keys
    await settle(source)
    assert len(issuer.asked) == asked + 1


async def test_keys_come_back_when_the_issuer_does(source, issuer, time):
    await source.keys()
    issuer.down = True
    time.advance(601)
    await source.keys()
    issuer.down = False
    issuer.keys = [TWO]
    time.advance(11)
    source.current()
    await settle(source)
    assert ids(source.current()) == ["two"]


async def test_an_issuer_that_never_answered_is_asked_again_after_a_second(source, issuer, time):
    issuer.down = True
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await source.keys()
    assert len(issuer.asked) == 1
    issuer.down = False
    time.advance(1)
    assert ids(await source.keys()) == ["one"]


async def test_an_unknown_key_id_brings_the_next_fetch_forward_once_per_cool_down(source, issuer, time):
    await source.keys()
    issuer.keys = [ONE, TWO]
    assert ids(await source.keys_after_unknown_id()) == ["one", "two"]
    for _ in range(50):
        await source.keys_after_unknown_id()
    assert issuer.fetches == 2
    time.advance(9.9)
    await source.keys_after_unknown_id()
    assert issuer.fetches == 2
    time.advance(0.2)
    await source.keys_after_unknown_id()
    assert issuer.fetches == 3


async def test_a_hundred_unknown_key_ids_at_once_share_one_fetch_and_all_see_its_keys(source, issuer):
    await source.keys()
    issuer.keys = [ONE, TWO]
    found = await asyncio.gather(*(source.keys_after_unknown_id() for _ in range(100)))
    assert all(ids(keys) == ["one", "two"] for keys in found)
    assert issuer.fetches == 2


async def test_a_failed_refetch_for_an_unknown_key_id_keeps_the_good_keys(source, issuer):
    keys = await source.keys()
    issuer.down = True
    assert await source.keys_after_unknown_id() is keys
    assert source.current() is keys


class Trickle(httpx.AsyncByteStream):
    """A good answer, one byte at a time: it would take four seconds."""

    async def __aiter__(self):
        for byte in json.dumps({"keys": [ONE]}).encode():
            yield bytes([byte])
            await asyncio.sleep(0.01)


class Flood(httpx.AsyncByteStream):
    def __init__(self, chunk: bytes, times: int) -> None:
        self.chunk, self.times, self.sent = chunk, times, 0

    async def __aiter__(self):
        for _ in range(self.times):
            self.sent += 1
            yield self.chunk


BROKEN = {
    "a redirect": lambda: httpx.Response(302, headers={"location": "https://id.example/elsewhere"}),
    "an error page": lambda: httpx.Response(500, text="<html>"),
    "an error with good keys": lambda: httpx.Response(500, json={"keys": [TWO]}),
    "a partial answer": lambda: httpx.Response(206, json={"keys": [TWO]}),
    "no content": lambda: httpx.Response(204),
    "no JSON": lambda: httpx.Response(200, text="<html>"),
    "no object": lambda: httpx.Response(200, json=[ONE]),
    "no list": lambda: httpx.Response(200, json={"keys": {"one": ONE}}),
    "no keys member": lambda: httpx.Response(200, json={"key": [ONE]}),
    "no key": lambda: httpx.Response(200, json={"keys": []}),
    "no object in the list": lambda: httpx.Response(200, json={"keys": [ONE, "two"]}),
    "a kid twice": lambda: httpx.Response(200, json={"keys": [TWO, TWO]}),
    "a kid twice, one of them for encryption": lambda: httpx.Response(200, json={"keys": [TWO, TWO | {"use": "enc"}]}),
    "a member twice": lambda: httpx.Response(200, text='{"keys":[],"keys":[]}'),
    "only keys of no use": lambda: httpx.Response(200, json={"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}),
    "too large": lambda: httpx.Response(200, content=b" " * MAX_DOCUMENT_BYTES + b'{"keys":[]}'),
    "compressed": lambda: httpx.Response(
        200, headers={"content-encoding": "gzip"}, content=gzip.compress(json.dumps({"keys": [TWO]}).encode())
    ),
    "a broken connection": lambda: httpx.ReadError("reset"),
    "a broken protocol": lambda: httpx.RemoteProtocolError("what?"),
    "a time-out": lambda: httpx.ReadTimeout("slow"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_answer_that_is_not_right_never_evicts_good_keys(broken, source, issuer, time):
    keys = await source.keys()
    issuer.answers[JWKS] = BROKEN[broken]()
    time.advance(601)
    assert await source.keys() is keys
    assert issuer.fetches == 2
    assert all(url.startswith(ISSUER) for url in issuer.asked)


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_answer_that_is_not_right_is_no_key_set(broken, source, issuer):
    issuer.answers[JWKS] = BROKEN[broken]()
    with pytest.raises(KeysUnavailable):
        await source.keys()


async def test_a_document_is_read_no_further_than_its_limit(source, issuer):
    flood = Flood(b" " * 1024, 1_000_000)
    issuer.answers[JWKS] = httpx.Response(200, stream=flood)
    with pytest.raises(KeysUnavailable):
        await source.keys()
    assert flood.sent == 65


async def test_a_document_of_exactly_64_kib_is_taken(source, issuer):
    body = httpx.Response(200, json={"keys": [ONE]}).content
    issuer.answers[JWKS] = httpx.Response(200, content=body.ljust(MAX_DOCUMENT_BYTES))
    assert ids(await source.keys()) == ["one"]


async def test_a_trickling_answer_is_cut_off_as_a_whole(issuer, time):
    # Every single byte is in time; only a limit on the sum ends it.
    issuer.answers[JWKS] = httpx.Response(200, stream=Trickle())
    with pytest.raises(KeysUnavailable):
        await source_of(provider(), issuer, time, timeout=0.05).keys()


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://id.example/application/o/other/", "jwks_uri": JWKS},
        {"issuer": ISSUER[:-1], "jwks_uri": JWKS},
        {"jwks_uri": JWKS},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": None},
        {"issuer": ISSUER, "jwks_uri": "https://elsewhere.example/jwks/"},
        {"issuer": ISSUER, "jwks_uri": "http://id.example/application/o/dezky/jwks/"},
        {"issuer": ISSUER, "jwks_uri": "https://id.example:444/application/o/dezky/jwks/"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": "https://[::1/"},
        {"issuer": ISSUER, "jwks_uri": "http://169.254.169.254/latest/meta-data"},
    ],
)
async def test_a_discovery_document_that_points_elsewhere_is_not_followed(discovery, source, issuer):
    issuer.discovery = discovery
    with pytest.raises(KeysUnavailable):
        await source.keys()
    assert issuer.asked == [DISCOVERY]


async def test_a_key_of_an_unknown_kind_does_not_spoil_the_others(source, issuer):
    weak = jwk_of(new_rsa(1024), kid="weak")
    issuer.keys = [
        {"kty": "AKP", "kid": "tomorrow", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kid": "nothing"},
        {"kty": ["RSA"], "kid": "odd"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"},
        weak,
        TWO | {"kid": "encryption", "use": "enc"},
        TWO | {"kid": "other algorithm", "alg": "RS512"},
        TWO | {"kid": "signing only", "key_ops": ["sign"]},
        TWO | {"kid": "no list", "key_ops": "verify"},
        TWO | {"kid": 5},
        TWO | {"kid": "padded", "n": TWO["n"] + "="},
        TWO | {"kid": "no modulus", "n": None},
        TWO | {"kid": "even", "n": TWO["n"][:-1] + "A"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "exchange"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "short"},
        TWO | {"kid": "good", "key_ops": ["verify"]},
        ONE,
    ]
    assert ids(await source.keys()) == ["good", "one"]


async def test_the_issuer_gets_neither_a_token_nor_permission_to_compress(source):
    requests = []

    async def record(request):
        requests.append(request)

    source._client.event_hooks = {"request": [record]}
    await source.keys()
    for request in requests:
        assert request.method == "GET"
        assert request.headers["accept-encoding"] == "identity"
        assert "authorization" not in request.headers


async def test_closing_abandons_a_fetch_under_way(issuer, time):
    issuer.answers[JWKS] = httpx.Response(200, stream=Trickle())
    source = source_of(provider(), issuer, time)
    waiting = asyncio.create_task(source.keys())

    async def begun():
        return issuer.fetches

    await eventually(begun, pause=0)
    await source.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await source.aclose()


def test_the_test_world_knows_no_other_host():
    assert client_of().follow_redirects is False


async def test_fetches_are_counted_by_what_came_of_them(source, issuer, time):
    def counted(outcome):
        labels = {"issuer": ISSUER, "outcome": outcome}
        return REGISTRY.get_sample_value("dezky_gateway_jwks_fetches_total", labels)

    before = counted("fetched"), counted("failed")
    await source.keys()
    issuer.down = True
    time.advance(301)
    source.current()
    await settle(source)
    assert (counted("fetched"), counted("failed")) == (before[0] + 1, before[1] + 1)
