"""A tenant is deleted, restored, deleted again, and erased in every backend, which a signed certificate says."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infrastructure.local.demo.selling import new_tenant
from infrastructure.local.demo.stage import LOOK_SECONDS, PATIENCE_SECONDS, Stage


def delete_and_restore(stage: Stage) -> None:
    """A deletion shuts the tenant at once, and can be undone."""
    _delete(stage)
    stage.eventually(lambda: not stage.member_may_use_suite(), "the member still uses the suite")
    stage.check(stage.shuts_out_the_member(), "the portal still shows the member the tenant")
    stage.done("the operator deletes the tenant, and the suite refuses the member's sign-in, the portal, too")
    restored = stage.expect(stage.operator, "POST", f"/api/tenants/{stage.tenant}/restore", 200)
    stage.check(restored["status"] == "active" and restored["deletion"] is None, f"the tenant is {restored}")
    stage.let_the_member_in()
    stage.done("the operator restores it, and the member signs in again with everything there")


def delete(stage: Stage) -> datetime:
    """Delete the tenant for good; return when its erasure begins."""
    stage.eventually(lambda: stage.seen(lambda: all(_held(stage).values())), "the backends do not hold everything")
    due = _delete(stage)
    left = (due - datetime.now(UTC)).total_seconds()
    stage.check(
        left < PATIENCE_SECONDS,
        f"this fleet keeps deleted tenants until {due:%Y-%m-%d}: start it without DEZKY_DELETION_GRACE_SECONDS",
    )
    stage.done(f"the operator deletes it again; it can be restored for {left:.0f} s here, for 30 days elsewhere")
    return due


def erase(stage: Stage, due: datetime) -> None:
    """When the time is over nothing is left in any backend, and the certificate says so."""
    stage.eventually(lambda: stage.status() == "deleted", f"the erasure, due at {due:%H:%M:%S}, has not ended")
    left: dict[str, bool] = {}

    def nothing() -> bool:
        left.update(_held(stage))
        return not any(left.values())

    stage.eventually(lambda: stage.seen(nothing), lambda: f"the backends still hold {left}", LOOK_SECONDS)
    stage.done(f"the time is over: erased in every backend, seen from outside: no {', no '.join(left)}")
    person = stage.expect(stage.operator, "GET", f"/api/users/{stage.member_id}", 200)
    stage.check(person["status"] == "erased" and stage.member_email not in str(person), f"the member is {person}")
    stage.check(stage.member.call("GET", "/api/me").status_code == 401, "the member is still let in")
    stage.done("its people, who had no other place, are forgotten: an id is left")
    shown = stage.expect(stage.operator, "GET", f"/api/tenants/{stage.tenant}/certificate", 200)
    said = verified(shown["certificate"], _public_key(stage))
    stage.check(said is not None, "the certificate's signature is wrong")
    stage.check(said is not None and said["tenant"]["slug"] == stage.tenant, f"the certificate says {said}")
    stage.eventually(lambda: _digest_in_log(stage) == _sha256(shown["certificate"]), "the log has another digest")
    backends = ", ".join(backend["name"] for backend in (said or {})["backends"])
    stage.done(f"the certificate verifies with the platform's key, names {backends}, and its digest is in the log")
    stage.refused(stage.next_owner, "POST", "/api/tenants", 409, "slug_taken", new_tenant(stage))
    stage.done("the slug is not given again")


def verified(compact: str, key: Ed25519PublicKey) -> dict[str, Any] | None:
    """Return what a JWS says (RFC 7515, compact form; EdDSA of RFC 8037), or None if ``key`` did not sign it."""
    signed, _, signature = compact.rpartition(".")
    header, payload = (json.loads(_decoded(part)) for part in signed.split("."))
    try:
        key.verify(_decoded(signature), signed.encode("ascii"))
    except InvalidSignature:
        return None
    return dict(payload) if header["alg"] == "EdDSA" else None


def _delete(stage: Stage) -> datetime:
    gone = stage.expect(stage.operator, "DELETE", f"/api/tenants/{stage.tenant}", 202, {"reason": "demo"})
    stage.check(gone["status"] == "deleting", f"the tenant is {gone['status']}")
    return datetime.fromisoformat(gone["deletion"]["eraseAfter"])


def _held(stage: Stage) -> dict[str, bool]:
    return stage.backends.held(stage.tenant) | stage.backends.held_of_person(stage.member_email)


def _public_key(stage: Stage) -> Ed25519PublicKey:
    """The platform's key as its owner knows it: not from the answer that it is to check."""
    seed = _decoded(stage.credentials.tenant["certificate"])
    return Ed25519PrivateKey.from_private_bytes(seed).public_key()


def _digest_in_log(stage: Stage) -> str | None:
    scope = {"tenantSlug": stage.tenant, "action": "tenant.deleted"}
    entries = stage.expect(stage.operator, "GET", "/api/audit", 200, **scope)["items"]
    return str(entries[0]["metadata"]["data"]["certificateSha256"]) if entries else None


def _sha256(compact: str) -> str:
    return hashlib.sha256(compact.encode("ascii")).hexdigest()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
