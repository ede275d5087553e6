"""The worked examples of docs/audit-format.md, computed with the standard library alone.

Imports nothing of the product. `python tests/audit/format_vectors.py` prints them as they stand in the document.
`json.dumps` with sorted names is RFC 8785 here, because every member name is ASCII and there are no floats.
"""

import hashlib
import hmac
import json


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def commit(salt, value):
    return {"$commit": hmac.new(salt, canonical(value), hashlib.sha256).hexdigest()}


SALTS = [bytes([number]) * 32 for number in (1, 2, 3)]


def first_entry():
    return {
        "v": 1,
        "seq": 1,
        "id": "0198c0de-0000-7000-8000-000000000101",
        "at": "2026-11-22T12:00:00.000Z",
        "actorType": "user",
        "actorId": "0198c0de-0000-7000-8000-000000000001",
        "actorEmail": commit(SALTS[0], "Zoë@nordic.example"),
        "actorIp": commit(SALTS[1], "203.0.113.7"),
        "surface": "portal",
        "action": "tenant.updated",
        "outcome": "success",
        "resourceType": "tenant",
        "resourceId": "0198c0de-0000-7000-8000-0000000000aa",
        "resourceName": "Acme Łtd \U0001f600",
        "tenantSlug": "acme",
        "partnerSlug": "nordic",
        "source": "tenant",
        "metadata": {
            "type": "tenant.updated.v1",
            "subject": "tenants/acme",
            "sourceSeq": 1,
            "version": 2,
            "changes": {
                "seats": {"before": 25, "after": 9007199254740991},
                "billing": {
                    "before": None,
                    "after": {"company": 'A "quoted"\n\x0f/\\', "contact": commit(SALTS[2], "Zoë Müller")},
                },
            },
        },
        "prevHash": "0" * 64,
    }


def second_entry(previous):
    nothing = dict.fromkeys(
        (
            "actorId",
            "actorEmail",
            "actorIp",
            "surface",
            "resourceType",
            "resourceId",
            "resourceName",
            "tenantSlug",
            "partnerSlug",
        )
    )
    return nothing | {
        "v": 1,
        "seq": 2,
        "id": "sha256:" + "ab" * 32,
        "at": "2026-11-22T12:00:00.250Z",
        "actorType": "system",
        "action": "audit.unparsed",
        "outcome": "failure",
        "source": "tenant",
        "metadata": {
            "subject": "tenant.updated.v1",
            "type": "tenant.updated.v1",
            "reason": "not_a_cloudevent",
            "raw": commit(SALTS[0], "bm90IEpTT04="),
        },
        "prevHash": previous,
    }


def vectors():
    first = first_entry()
    first_hash = hashlib.sha256(canonical(first)).hexdigest()
    second = second_entry(first_hash)
    return [
        {"entry": first, "canonical": canonical(first).decode(), "hash": first_hash},
        {
            "entry": second,
            "canonical": canonical(second).decode(),
            "hash": hashlib.sha256(canonical(second)).hexdigest(),
        },
    ]


if __name__ == "__main__":
    for salt, value in zip(SALTS, ("Zoë@nordic.example", "203.0.113.7", "Zoë Müller"), strict=True):
        print(salt.hex(), canonical(value).decode(), commit(salt, value)["$commit"])
    print(commit(SALTS[0], "bm90IEpTT04=")["$commit"])
    for vector in vectors():
        print(vector["canonical"])
        print(vector["hash"])
