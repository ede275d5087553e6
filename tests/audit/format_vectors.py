"""The worked examples of docs/audit-format.md, computed with the standard library (and an Ed25519 of its own).

Imports nothing of the product. `python tests/audit/format_vectors.py` prints them as they stand in the document.
`json.dumps` with sorted names is RFC 8785 here, because every member name is ASCII and there are no floats.
"""

import base64
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


# Checkpoints: sections 7 to 9. Ed25519 has no part in the standard library; the product's dependency is used here.

HMAC_KEY = bytes([8]) * 32
ED25519_SEED = bytes([9]) * 32


def leaf(entry_hash):
    return hashlib.sha256(b"\x00" + bytes.fromhex(entry_hash)).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def hmac_key_id():
    return hmac.digest(HMAC_KEY, b"dezky-audit/key-id/v1", "sha256").hex()[:16]


def ed25519():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(ED25519_SEED)
    return key, key.public_key().public_bytes_raw()


def checkpoint_vector(number, hashes, root, previous):
    """The signed bytes of a checkpoint, its hash, its signatures, and the witness's copy."""
    content = {
        "number": number,
        "at": f"2026-11-22T12:0{number}:00.000Z",
        "headSeq": len(hashes),
        "headHash": hashes[-1],
        "rootHash": root.hex(),
        "prevCheckpointHash": previous,
        "reason": "manual",
    }
    message = canonical(content)
    key, public = ed25519()
    mac = base64.b64encode(hmac.digest(HMAC_KEY, message, "sha256")).decode()
    signature = base64.b64encode(key.sign(message)).decode()
    signatures = [
        {"sigAlg": "HMAC-SHA-256", "keyId": hmac_key_id(), "signature": mac},
        {"sigAlg": "Ed25519", "keyId": hashlib.sha256(public).hexdigest()[:16], "signature": signature},
    ]
    row = {name: value for name, value in content.items() if name != "number"}
    return {
        "row": {"_id": number, **row, "signatures": signatures, "note": None},
        "signed": message.decode(),
        "hash": hashlib.sha256(message).hexdigest(),
        "signatures": signatures,
        "copy": canonical({**content, "signatures": signatures, "note": None}).decode(),
    }


def checkpoint_vectors():
    hashes = [vector["hash"] for vector in vectors()]
    first = checkpoint_vector(1, hashes[:1], leaf(hashes[0]), "0" * 64)
    root = node(leaf(hashes[0]), leaf(hashes[1]))
    return [first, checkpoint_vector(2, hashes, root, first["hash"])]


def print_checkpoints():
    print("hmac key id", hmac_key_id())
    print("public key", ed25519()[1].hex(), hashlib.sha256(ed25519()[1]).hexdigest()[:16])
    for vector in vectors():
        print("leaf", leaf(vector["hash"]).hex())
    for vector in checkpoint_vectors():
        print(vector["signed"])
        print(vector["hash"])
        for item in vector["signatures"]:
            print(item["keyId"], item["signature"])
        print(vector["copy"])


if __name__ == "__main__":
    print_checkpoints()
    for salt, value in zip(SALTS, ("Zoë@nordic.example", "203.0.113.7", "Zoë Müller"), strict=True):
        print(salt.hex(), canonical(value).decode(), commit(salt, value)["$commit"])
    print(commit(SALTS[0], "bm90IEpTT04=")["$commit"])
    for vector in vectors():
        print(vector["canonical"])
        print(vector["hash"])
