"""Published attacks on JOSE libraries, against `gateway.tokens.verify_jws`.

What each must answer follows from RFC 7515, RFC 8725 and the advisory that is named.
"""

import hashlib
import hmac
import itertools

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.token_errors import (
    AlgorithmNotAllowed,
    BadSignature,
    HeaderNotAllowed,
    KeyNotUsable,
    MalformedToken,
    TokenError,
    UnknownKey,
)
from gateway.tokens import verify_jws
from tests.gateway.signing import b64, b64_number, compact, jwk_of, new_rsa, signer, unb64

ALL = {"RS256", "PS256", "ES256", "EdDSA"}
# What a careless operator might allow; still nothing but the four may pass.
CARELESS = ALL | {"none", "None", "HS256", "HS384", "HS512", "RS1", "PS384", "ES256K", "ES512", "dir", ""}

RSA = new_rsa()
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ATTACKER = new_rsa()

RSA_JWK = jwk_of(RSA, kid="rsa", use="sig")
EC_JWK = jwk_of(EC, kid="ec")
ED_JWK = jwk_of(ED, kid="ed")
KEYS = {"keys": [RSA_JWK, EC_JWK, ED_JWK]}
PAYLOAD = b'{"sub":"somebody"}'
HEAD = '{"alg":"RS256","kid":"rsa"}'

RS256 = signer(RSA, "RS256")
PS256 = signer(RSA, "PS256")
ES256 = signer(EC, "ES256")
EDDSA = signer(ED, "EdDSA")
FORGED = signer(ATTACKER, "RS256")

# A token of each algorithm, for attacks that change one.
RSA_TOKEN = compact(HEAD, RS256, PAYLOAD)
EC_TOKEN = compact({"alg": "ES256", "kid": "ec"}, ES256, PAYLOAD)


def jwks(*keys):
    return {"keys": list(keys)}


def signed(header, sign, payload=PAYLOAD):
    return compact(header, sign, payload)


def with_rsa(header):
    return compact(header, RS256, PAYLOAD)


def refuse(token, reason=TokenError, keys=KEYS, allowed=CARELESS):
    with pytest.raises(reason) as caught:
        verify_jws(token, keys, allowed)
    assert caught.value.status == 401


def test_the_signers_of_this_file_are_right():
    assert verify_jws(RSA_TOKEN, KEYS, ALL) == PAYLOAD
    assert verify_jws(EC_TOKEN, KEYS, ALL) == PAYLOAD
    assert verify_jws(signed({"alg": "PS256", "kid": "rsa"}, PS256), KEYS, ALL) == PAYLOAD
    assert verify_jws(signed({"alg": "EdDSA", "kid": "ed"}, EDDSA), KEYS, ALL) == PAYLOAD


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", " none", "none\u0000"])
def test_no_spelling_of_none_is_an_algorithm(name):
    # CVE-2015-9235 and its many returns in other capitals.
    refuse(signed({"alg": name}, lambda _: b""), AlgorithmNotAllowed)
    refuse(signed({"alg": name, "kid": "rsa"}, FORGED), AlgorithmNotAllowed)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_the_public_key_is_no_hmac_secret(encoding, form):
    # CVE-2016-5431, CVE-2016-10555: HS256 with the RSA public key as the secret.
    secret = RSA.public_key().public_bytes(encoding, form)
    for key_id in ("rsa", "ec", "ed"):
        token = signed({"alg": "HS256", "kid": key_id}, lambda m: hmac.digest(secret, m, hashlib.sha256))
        refuse(token, AlgorithmNotAllowed)


def test_a_symmetric_key_in_a_key_set_is_never_used():
    secret = b"s" * 32
    keys = jwks({"kty": "oct", "k": b64(secret), "kid": "shared", "alg": "HS256"}, RSA_JWK)
    token = signed({"alg": "HS256", "kid": "shared"}, lambda m: hmac.digest(secret, m, hashlib.sha256))
    refuse(token, AlgorithmNotAllowed, keys)
    refuse(signed({"alg": "RS256", "kid": "shared"}, RS256), UnknownKey, keys)


@pytest.mark.parametrize(
    ("algorithm", "key_id", "sign"),
    [
        ("ES256", "rsa", RS256),
        ("EdDSA", "rsa", RS256),
        ("RS256", "ec", ES256),
        ("EdDSA", "ec", ES256),
        ("RS256", "ed", EDDSA),
        ("ES256", "ed", EDDSA),
    ],
)
def test_a_key_verifies_no_algorithm_of_another_key_type(algorithm, key_id, sign):
    refuse(signed({"alg": algorithm, "kid": key_id}, sign), KeyNotUsable)


def test_a_pss_signature_is_no_pkcs1_signature_and_the_other_way_round():
    refuse(signed({"alg": "RS256", "kid": "rsa"}, PS256), BadSignature)
    refuse(signed({"alg": "PS256", "kid": "rsa"}, RS256), BadSignature)


def test_an_algorithm_that_the_provider_is_not_pinned_to_is_refused():
    refuse(with_rsa({"alg": "RS256", "kid": "rsa"}), AlgorithmNotAllowed, allowed={"PS256", "ES256", "EdDSA"})
    refuse(with_rsa({"alg": "RS256", "kid": "rsa"}), AlgorithmNotAllowed, allowed=set())


def test_a_key_inside_the_token_is_refused():
    # CVE-2018-0114.
    own = jwk_of(ATTACKER, kid="rsa")
    refuse(signed({"alg": "RS256", "kid": "rsa", "jwk": own}, FORGED), HeaderNotAllowed)
    refuse(with_rsa({"alg": "RS256", "kid": "rsa", "jwk": RSA_JWK}), HeaderNotAllowed)


@pytest.mark.parametrize("member", ["jku", "x5u", "x5c", "jwk"])
@pytest.mark.parametrize("value", ["http://169.254.169.254/latest/meta-data", ["MIIB"], {}, None, ""])
def test_a_place_to_get_a_key_from_is_refused_even_beside_a_good_signature(member, value):
    refuse(with_rsa({"alg": "RS256", "kid": "rsa", member: value}), HeaderNotAllowed)


@pytest.mark.parametrize(
    "crit", [["exp"], ["b64"], ["http://example.invalid/UNDEFINED"], [], "b64", None, {"a": 1}, ["alg"]]
)
def test_a_critical_extension_is_refused(crit):
    # RFC 7515 section 4.1.11 and appendix E: we understand none, and an empty or odd list is not legal.
    refuse(with_rsa({"alg": "RS256", "kid": "rsa", "crit": crit, "b64": True, "exp": 1}), HeaderNotAllowed)


def test_an_unencoded_payload_is_refused():
    # RFC 7797; section 7 forbids it to JWTs.
    for value in (False, None, 0, "false", "true", 1):
        refuse(with_rsa({"alg": "RS256", "kid": "rsa", "b64": value}), HeaderNotAllowed)
    header = b64(b'{"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]}')
    raw = f"{header}.$.02"
    refuse(f"{raw}.{b64(RS256(raw.encode()))}")


@pytest.mark.parametrize(
    "signature",
    [
        bytes(64),
        bytes(32) + b"\x00" * 31 + b"\x01",
        b"\x00" * 31 + b"\x01" + bytes(32),
        # r = 0, s = 0 and r = n, s = n, with n the order of P-256 (FIPS 186-4, D.1.2.3)
        bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2,
        b"\xff" * 64,
        bytes(63),
        bytes(65),
        b"",
        bytes.fromhex("3006020100020100"),
    ],
)
def test_a_psychic_signature_is_refused(signature):
    # CVE-2022-21449.
    refuse(signed({"alg": "ES256", "kid": "ec"}, lambda _: signature), BadSignature)


def test_a_der_signature_is_no_jose_signature():
    refuse(signed({"alg": "ES256", "kid": "ec"}, lambda m: EC.sign(m, ec.ECDSA(hashes.SHA256()))), BadSignature)


def test_a_signature_of_another_length_is_refused_even_if_its_numbers_are_right():
    def padded(message):
        signature = ES256(message)
        return signature[:32] + b"\x00" + signature[32:]

    refuse(signed({"alg": "ES256", "kid": "ec"}, padded), BadSignature)


def test_ed25519_refuses_a_scalar_beyond_the_group_order():
    # RFC 8032 section 5.1.7: S must be below L, or every signature could be written in several ways.
    order = 2**252 + 27742317777372353535851937790883648493

    def shifted(message: bytes) -> bytes:
        signature = ED.sign(message)
        scalar = int.from_bytes(signature[32:], "little") + order
        return signature[:32] + scalar.to_bytes(32, "little")

    refuse(signed({"alg": "EdDSA", "kid": "ed"}, shifted), BadSignature)


def test_a_key_on_another_curve_is_never_used():
    # The curve is the key's, not the token's: P-384 and secp256k1 under the name ES256.
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        private = ec.generate_private_key(curve)
        token = signed({"alg": "ES256", "kid": "k"}, signer(private, "ES256"))
        refuse(token, UnknownKey, jwks(jwk_of(private, kid="k")))


@pytest.mark.parametrize("name", ["P-384", "secp256k1", "p-256", None, ["P-256"]])
def test_a_key_under_the_name_of_another_curve_is_never_used(name):
    refuse(EC_TOKEN, UnknownKey, jwks(EC_JWK | {"crv": name}))


def test_a_point_off_the_curve_is_no_key():
    # Invalid curve attacks, CVE-2017-16007.
    for x, y in [("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", b64(bytes(32))), (b64(bytes(32)), b64(bytes(32)))]:
        key = EC_JWK | {"x": x, "y": y, "kid": "ec"}
        refuse(signed({"alg": "ES256", "kid": "ec"}, ES256), UnknownKey, jwks(key))


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"none","alg":"RS256","kid":"rsa"}',
        '{"alg":"RS256","alg":"RS256","kid":"rsa"}',
        '{"alg":"RS256","kid":"ed","kid":"rsa"}',
        '{"alg":"RS256","kid":"rsa","\\u0061lg":"RS256"}',
        '{"alg":"RS256","kid":"rsa","x":{"a":1,"a":2}}',
    ],
)
def test_a_header_with_a_member_twice_is_refused(header):
    refuse(with_rsa(header), MalformedToken)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "null",
        "[]",
        '"RS256"',
        "{}",
        '{"kid":"rsa"}',
        '{"alg":null,"kid":"rsa"}',
        '{"alg":["RS256"],"kid":"rsa"}',
        '{"alg":5}',
        '{"alg":"RS256","kid":5}',
        '{"alg":"RS256","kid":null}',
        '{"alg":"RS256","kid":["rsa"]}',
        '{"alg":"RS256","kid":"rsa","typ":7}',
        '{"alg":"RS256","kid":"rsa"} x',
        '{"alg":"RS256","kid":"rsa",}',
        "{'alg':'RS256'}",
        '\ufeff{"alg":"RS256","kid":"rsa"}',
        '{"alg":"RS256","kid":"rsa","n":NaN}',
        '{"alg":"RS256","kid":"rsa","n":-Infinity}',
        '{"alg":"RS256","kid":"rsa","n":1e999}',
        '{"alg":"RS256","kid":"rsa\\ud800"}',
        '{"alg":"RS256","kid":"rsa\n"}',
    ],
)
def test_a_header_that_is_no_proper_json_object_is_refused(header):
    refuse(with_rsa(header), MalformedToken)


def test_a_header_that_is_not_utf8_is_refused():
    for raw in (b'{"alg":"RS256","kid":"\xff"}', '{"alg":"RS256","kid":"rsa"}'.encode("utf-16")):
        head = f"{b64(raw)}.{b64(PAYLOAD)}"
        refuse(f"{head}.{b64(RS256(head.encode()))}", MalformedToken)


@pytest.mark.parametrize("bomb", ["[" * 5000, '{"a":' * 1000 + "1" + "}" * 1000, "[" * 900 + "]" * 900])
def test_a_depth_bomb_is_refused(bomb):
    refuse(with_rsa('{"alg":"RS256","kid":"rsa","x":' + bomb + "}"), MalformedToken)


def test_a_number_of_thousands_of_digits_does_no_harm():
    refuse(with_rsa('{"alg":"RS256","kid":"rsa","n":' + "9" * 5000 + "}"), MalformedToken)
    assert verify_jws(with_rsa('{"alg":"RS256","kid":"rsa","n":' + "9" * 400 + "}"), KEYS, ALL) == PAYLOAD


def test_a_signature_has_exactly_one_spelling():
    # The last of 86 characters carries four bits that mean nothing, so sixteen spellings decode alike.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(EC_TOKEN.split(".")[2]) == 86
    accepted = []
    for last in alphabet:
        try:
            verify_jws(EC_TOKEN[:-1] + last, KEYS, ALL)
        except TokenError:
            continue
        accepted.append(last)
    assert accepted == [EC_TOKEN[-1]]


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("extra", ["=", "==", " ", "\n", "\r\n", "\t", "+", "/", "%3D", "\u0000", "A", "!", "."])
def test_padding_whitespace_and_foreign_characters_are_refused_in_every_part(part, extra):
    parts = RSA_TOKEN.split(".")
    for changed in (parts[part] + extra, extra + parts[part], parts[part][:8] + extra + parts[part][8:]):
        token = ".".join([*parts[:part], changed, *parts[part + 1 :]])
        refuse(token, keys=KEYS)


def test_the_standard_alphabet_is_refused():
    token = RSA_TOKEN.replace("-", "+").replace("_", "/")
    assert token != RSA_TOKEN
    refuse(token, MalformedToken, KEYS)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "....",
        "a",
        "a.b",
        "a.b.c",
        f"{RSA_TOKEN}.",
        f".{RSA_TOKEN}",
        f"Bearer {RSA_TOKEN}",
        "\u00e9.\u00e9.\u00e9",
        "\ud800.a.b",
        RSA_TOKEN[:-1] + "\u0101",
    ],
)
def test_what_is_not_three_parts_of_base64url_is_refused(token):
    refuse(token, MalformedToken, KEYS)


def test_a_token_beyond_8_kib_is_refused_and_one_of_8_kib_is_not():
    def of_size(size: int) -> str:
        # Blanks in the header make up what the payload, which grows by fours, cannot.
        for blanks, length in itertools.product(range(8), range(5_800, 6_200)):
            token = signed('{"alg":"EdDSA","kid":"ed"' + " " * blanks + "}", lambda _: b"", b"x" * length)
            if len(token) + 86 == size:
                return signed('{"alg":"EdDSA","kid":"ed"' + " " * blanks + "}", EDDSA, b"x" * length)
        raise AssertionError(size)

    assert verify_jws(of_size(8192), KEYS, ALL)
    refuse(of_size(8193), MalformedToken)
    refuse(b"." * 50_000_000, MalformedToken)


def test_a_key_id_is_looked_up_and_never_interpreted():
    for key_id in ("../../dev/null", "' OR 1=1 --", "rsa\u0000", "RSA", " rsa", "", "http://127.0.0.1/key"):
        refuse(with_rsa({"alg": "RS256", "kid": key_id}), UnknownKey)


def test_the_payload_may_not_be_exchanged():
    head, _, signature = with_rsa({"alg": "RS256", "kid": "rsa"}).split(".")
    other = b64(b'{"sub":"somebody else"}')
    refuse(f"{head}.{other}.{signature}", BadSignature)


def test_a_signature_over_another_header_does_not_count():
    _, payload, signature = with_rsa({"alg": "RS256", "kid": "rsa"}).split(".")
    head = b64(b'{"alg":"RS256","kid":"rsa" }')
    refuse(f"{head}.{payload}.{signature}", BadSignature)


def test_an_rsa_signature_with_leading_zeros_or_of_another_length_is_refused():
    head, payload, signature = with_rsa({"alg": "RS256", "kid": "rsa"}).split(".")
    raw = unb64(signature)
    plus_modulus = (int.from_bytes(raw) + RSA.public_key().public_numbers().n).to_bytes(257)
    for changed in (b"\x00" + raw, raw[1:], raw + b"\x00", b"", plus_modulus, bytes(256)):
        refuse(f"{head}.{payload}.{b64(changed)}", BadSignature)


def test_an_rsa_key_with_a_degenerate_exponent_is_never_used():
    # With e = 1 the padded hash is its own signature.
    signing_input = f"{b64(HEAD.encode())}.{b64(PAYLOAD)}"
    digest = hashlib.sha256(signing_input.encode()).digest()
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(prefix) - 32) + b"\x00" + prefix + digest
    token = f"{signing_input}.{b64(padded)}"
    for exponent in (0, 1, 2, 2**64 + 1):
        refuse(token, UnknownKey, jwks(RSA_JWK | {"e": b64_number(exponent)}))
