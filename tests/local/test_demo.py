"""The demo believes a certificate only by the key that it knows from elsewhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infrastructure.docs.openapi import document
from infrastructure.local.demo.deletion import verified
from infrastructure.local.errors import Obstacle
from infrastructure.local.processes import grace_days
from infrastructure.local.seeds import witness_bucket

pytestmark = pytest.mark.unit

# RFC 8037, appendix A.2.
PUBLISHED = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")


@pytest.fixture(scope="module")
def shown() -> Any:
    answer = document()["paths"]["/api/tenants/{slug}/certificate"]["get"]["responses"]["200"]
    return answer["content"]["application/json"]["example"]


def test_a_certificate_says_what_was_signed(shown: Any) -> None:
    assert verified(shown["certificate"], Ed25519PublicKey.from_public_bytes(PUBLISHED)) == shown["payload"]


def test_a_certificate_of_another_key_says_nothing(shown: Any) -> None:
    assert verified(shown["certificate"], Ed25519PrivateKey.generate().public_key()) is None


def test_a_certificate_that_was_changed_says_nothing(shown: Any) -> None:
    header, payload, signature = shown["certificate"].split(".")
    forged = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b"acme", b"evil")
    )
    compact = f"{header}.{forged.rstrip(b'=').decode()}.{signature}"
    assert verified(compact, Ed25519PublicKey.from_public_bytes(PUBLISHED)) is None


@pytest.mark.parametrize(
    ("given", "days"),
    [({}, 25 / 86_400), ({"DEZKY_DELETION_GRACE_SECONDS": "86400"}, 1), ({"OTHER": "x"}, 25 / 86_400)],
)
def test_this_machine_keeps_deleted_tenants_for_seconds(given: dict[str, str], days: float) -> None:
    assert float(grace_days(given)) == pytest.approx(days, abs=1e-8)


@pytest.mark.parametrize("text", ["Audit", "a", "under_score", "-a-"])
def test_a_witness_that_no_bucket_can_be_is_refused(text: str) -> None:
    assert witness_bucket({}) == "dezky-audit-witness"
    assert witness_bucket({"DEZKY_WITNESS_BUCKET": "another-2"}) == "another-2"
    with pytest.raises(Obstacle, match="DEZKY_WITNESS_BUCKET is"):
        witness_bucket({"DEZKY_WITNESS_BUCKET": text})


@pytest.mark.parametrize("text", ["-1", "1.5", "soon", "٣"])
def test_a_grace_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(Obstacle, match="whole seconds"):
        grace_days({"DEZKY_DELETION_GRACE_SECONDS": text})
