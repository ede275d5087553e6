"""The envelope of JMAP (RFC 8620), and its limits as Stalwart sets them."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.stalwart.process import API_KEY, BY_HAND, DEADLINE_SECONDS, USING, Stalwart, basic, user

URN = "urn:ietf:params:jmap:error:"
BEARER = {"Authorization": f"Bearer {API_KEY}"}


def test_the_documented_example_creates_a_domain_and_an_account_in_one_request(stalwart: Stalwart) -> None:
    answer = stalwart.post(
        ["x:Domain/set", {"create": {"d": {"name": "documented.example", **BY_HAND}}}, "0"],
        [
            "x:Account/set",
            {
                "create": {
                    "u": {
                        "@type": "User",
                        "name": "jane",
                        "domainId": "#d",
                        "description": "Jane",
                        "credentials": {"0": {"@type": "Password", "secret": "correct horse battery staple"}},
                        "aliases": {"0": {"name": "j.doe", "domainId": "#d", "enabled": True}},
                        "quotas": {"maxDiskQuota": 5368709120},
                        "roles": {"@type": "User"},
                    }
                }
            },
            "1",
        ],
    )
    assert answer.status_code == 200
    [[first, domains, call_0], [second, accounts, call_1]] = answer.json()["methodResponses"]
    assert (first, call_0, second, call_1) == ("x:Domain/set", "0", "x:Account/set", "1")
    assert "sessionState" in answer.json()
    account = stalwart.read("Account", accounts["created"]["u"]["id"])
    assert account["emailAddress"] == "jane@documented.example"
    assert account["domainId"] == domains["created"]["d"]["id"]
    assert account["aliases"]["0"]["domainId"] == account["domainId"]
    assert account["quotas"] == {"maxDiskQuota": 5368709120}
    assert account["permissions"] == {"@type": "Inherit"}
    assert account["usedDiskQuota"] == 0


def test_an_object_that_fails_does_not_fail_the_request_nor_its_siblings(stalwart: Stalwart) -> None:
    creations = {"bad": {"name": "not a name", **BY_HAND}, "good": {"name": "sibling.example", **BY_HAND}}
    answer = stalwart.post(["x:Domain/set", {"create": creations}, "0"])
    assert answer.status_code == 200
    result = answer.json()["methodResponses"][0][1]
    assert result["created"].keys() == {"good"}
    assert result["notCreated"]["bad"]["type"] == "invalidPatch"
    assert result["notCreated"]["bad"]["properties"] == ["name"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "notJSON"),
        (b'"\\ud800"', "notJSON"),
        (b"[" * 100_000, "notJSON"),
        (b"[]", "notRequest"),
        (b'{"using":[]}', "notRequest"),
        (json.dumps({"using": USING, "methodCalls": [["x:Domain/get", {}]]}).encode(), "notRequest"),
        (json.dumps({"using": ["urn:example:none"], "methodCalls": []}).encode(), "unknownCapability"),
    ],
)
def test_a_broken_request_is_a_problem_document(stalwart: Stalwart, content: bytes, kind: str) -> None:
    answer = stalwart.http.post("/jmap", content=content, headers={**BEARER, "Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["type"], answer.json()["status"]) == (URN + kind, 400)


def test_anything_but_json_is_not_read(stalwart: Stalwart) -> None:
    content = json.dumps({"using": USING, "methodCalls": []}).encode()
    answer = stalwart.http.post("/jmap", content=content, headers={**BEARER, "Content-Type": "text/plain"})
    assert answer.json()["type"] == URN + "notJSON"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer API_somebody-elses"}, basic("admin", "guess")])
def test_who_is_not_known_gets_401(stalwart: Stalwart, headers: dict[str, str]) -> None:
    answer = stalwart.http.post("/jmap", json={"using": USING, "methodCalls": []}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Basic realm=" in answer.headers["www-authenticate"]


def test_sixteen_calls_are_answered_and_seventeen_are_not(stalwart: Stalwart) -> None:
    call = ["x:Domain/query", {}, "q"]
    assert len(stalwart.post(*[call] * 16).json()["methodResponses"]) == 16
    answer = stalwart.post(*[call] * 17)
    assert (answer.status_code, answer.json()["type"]) == (400, URN + "limit")
    assert answer.json()["limit"] == "maxCallsInRequest"


def test_five_hundred_objects_are_taken_and_one_more_is_not(stalwart: Stalwart) -> None:
    missing = [f"zzzz{number:03}".translate(str.maketrans("0123456789", "abcdefghij")) for number in range(501)]
    answer = stalwart.post(
        ["x:Domain/set", {"destroy": missing[:500]}, "0"], ["x:Domain/set", {"destroy": missing}, "1"]
    )
    [[_, taken, _], [name, error, call]] = answer.json()["methodResponses"]
    assert len(taken["notDestroyed"]) == 500
    assert (name, error["type"], call) == ("error", "requestTooLarge", "1")
    assert stalwart.call("x:Domain/get", {"ids": missing})["type"] == "requestTooLarge"


def test_a_fifth_request_at_once_is_refused_and_accepted_when_a_slot_is_free(own: Callable[..., Stalwart]) -> None:
    instance = own()
    instance.start()
    body = json.dumps({"using": USING, "methodCalls": []}).encode()
    head = f"POST /jmap HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    waiting = [socket.create_connection(("127.0.0.1", instance.port), DEADLINE_SECONDS) for _ in range(4)]
    try:
        for connection in waiting:
            connection.sendall(head.encode() + body[:1])
        refused = instance.post()
        while refused.status_code == 200:
            refused = instance.post()
        assert (refused.status_code, refused.json()["limit"]) == (400, "maxConcurrentRequests")
        waiting[0].sendall(body[1:])
        assert waiting[0].recv(65536).startswith(b"HTTP/1.1 200")
        assert instance.post().status_code == 200
    finally:
        for connection in waiting:
            connection.close()


def test_too_many_requests_a_minute_are_told_when_to_come_back(own: Callable[..., Stalwart]) -> None:
    instance = own(limits={"authenticatedPerMinute": 3, "anonymousPerMinute": 2})
    instance.start()
    assert [instance.post().status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = instance.post()
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["content-type"] == "application/problem+json"
    # Health counts against the limit of those who have not said who they are.
    assert [instance.http.get("/healthz/live").status_code for _ in range(3)] == [200, 200, 429]


def test_health_is_a_problem_document_even_when_all_is_well(stalwart: Stalwart) -> None:
    for path in ("/healthz/live", "/healthz/ready"):
        answer = stalwart.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("x:Principal/get", {}, "unknownMethod"),
        ("Email/get", {}, "unknownMethod"),
        ("x:Domain/changes", {}, "unknownMethod"),
        ("x:Domain/get", {"accountId": "zz"}, "accountNotFound"),
        ("x:Domain/get", {"ids": "b"}, "invalidArguments"),
        ("x:Domain/set", {"ifInState": "other"}, "stateMismatch"),
        ("x:Domain/query", {"filter": {"isEnabled": "true"}}, "unsupportedFilter"),
        ("x:Domain/query", {"filter": {"operator": "OR", "conditions": []}}, "unsupportedFilter"),
        ("x:Account/query", {"filter": {"emailAddress": "a@b.example"}}, "unsupportedFilter"),
        ("x:Tenant/query", {"filter": {"name": "x"}}, "unsupportedFilter"),
        ("x:Domain/query", {"sort": [{"property": "createdAt"}]}, "unsupportedSort"),
        ("x:Action/query", {}, "invalidArguments"),
    ],
)
def test_a_call_that_fails_is_an_error_response_beside_the_others(
    stalwart: Stalwart, method: str, arguments: dict[str, Any], kind: str
) -> None:
    answer = stalwart.post([method, arguments, "a"], ["x:Domain/query", {}, "b"])
    [[name, error, call], [other, _, _]] = answer.json()["methodResponses"]
    assert (name, error["type"], call) == ("error", kind, "a")
    assert other == "x:Domain/query"


def test_the_management_needs_its_capability(stalwart: Stalwart) -> None:
    answer = stalwart.post(["x:Domain/get", {}, "a"], using=USING[:1])
    assert answer.json()["methodResponses"][0][1]["type"] == "unknownMethod"


def test_a_result_can_be_used_by_the_next_call(stalwart: Stalwart, domain: tuple[str, str]) -> None:
    identity, name = domain
    answer = stalwart.post(
        ["x:Domain/query", {"filter": {"name": name}}, "q"],
        ["x:Domain/get", {"#ids": {"resultOf": "q", "name": "x:Domain/query", "path": "/ids"}}, "g"],
        ["x:Domain/get", {"#ids": {"resultOf": "z", "name": "x:Domain/query", "path": "/ids"}}, "e"],
    )
    [_, [_, found, _], [error, refusal, _]] = answer.json()["methodResponses"]
    assert [each["id"] for each in found["list"]] == [identity]
    assert (error, refusal["type"]) == ("error", "invalidResultReference")


def test_an_unknown_creation_reference_is_refused(stalwart: Stalwart) -> None:
    assert stalwart.refusal("Account", user("x", "#nobody"))["type"] == "invalidProperties"


def test_ids_that_lead_nowhere_are_listed(stalwart: Stalwart, domain: tuple[str, str]) -> None:
    result = stalwart.call("x:Domain/get", {"ids": [domain[0], "zzzzz", "NO ID"], "properties": ["name"]})
    assert result["list"] == [{"id": domain[0], "name": domain[1]}]
    assert result["notFound"] == ["zzzzz", "NO ID"]


def test_a_query_pages_from_the_newest(stalwart: Stalwart, domain: tuple[str, str]) -> None:
    ids = [stalwart.user(f"p{number}", domain[0]) for number in range(3)]
    filtered = {"filter": {"domainId": domain[0]}, "calculateTotal": True}
    whole = stalwart.call("x:Account/query", filtered)
    assert (whole["ids"], whole["total"], whole["position"]) == (ids[::-1], 3, 0)
    assert stalwart.call("x:Account/query", {**filtered, "position": 1, "limit": 1})["ids"] == [ids[1]]
    upwards = {"sort": [{"property": "id", "isAscending": True}]}
    assert stalwart.call("x:Account/query", {**filtered, **upwards})["ids"] == ids
