"""The key pair that signs tokens, as the API shows it: self-signed, and the same at every start."""

from datetime import UTC, datetime
from functools import cached_property
from uuid import NAMESPACE_URL, uuid5

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from infrastructure.sandbox.authentik.keys import InstanceKeys

NAME = "authentik Self-signed Certificate"
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)


class KeyPair:
    """The one key pair of an instance. RSA signatures of this kind are the same for the same text (RFC 8017)."""

    def __init__(self, keys: InstanceKeys) -> None:
        self._keys = keys

    @cached_property
    def pk(self) -> str:
        """A UUID that stays with the key."""
        return str(uuid5(NAMESPACE_URL, str(self._keys.signing.kid)))

    @cached_property
    def _certificate(self) -> x509.Certificate:
        key = load_pem_private_key(self._keys.signing.as_pem(private=True), None)
        assert isinstance(key, RSAPrivateKey)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authentik default certificate")])
        unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        return unsigned.serial_number(1).not_valid_before(BEGIN).not_valid_after(END).sign(key, SHA256())

    def shown(self) -> dict[str, object]:
        """The key pair as the API shows it."""
        download = f"/api/v3/crypto/certificatekeypairs/{self.pk}"
        return {
            "pk": self.pk,
            "name": NAME,
            "fingerprint_sha256": self._certificate.fingerprint(SHA256()).hex(":"),
            "fingerprint_sha1": self._certificate.fingerprint(SHA1()).hex(":"),
            "cert_expiry": END.isoformat().replace("+00:00", "Z"),
            "cert_subject": self._certificate.subject.rfc4514_string(),
            "private_key_available": True,
            "key_type": "rsa",
            "certificate_download_url": f"{download}/view_certificate/?download",
            "private_key_download_url": f"{download}/view_private_key/?download",
            "managed": None,
        }
