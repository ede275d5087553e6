"""The published JOSE examples, against `gateway.tokens.verify_jws`; copied from the appendices of the RFCs named."""

import json

import pytest

from gateway.token_errors import AlgorithmNotAllowed, BadSignature, KeyNotUsable, MalformedToken, UnknownKey
from gateway.tokens import verify_jws
from tests.gateway.signing import b64

ALL = {"RS256", "PS256", "ES256", "EdDSA"}
# What a careless operator might allow; still nothing but the four may pass.
CARELESS = ALL | {"none", "None", "HS256", "HS384", "HS512", "RS1", "PS384", "ES256K", "ES512", "dir", ""}

JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
JOE_CLAIMS = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
FRODO = (
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IH"
    "lvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBk"
    "b24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcm"
    "UgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
)
FRODO_TEXT = (
    "It\u2019s a dangerous business, Frodo, going out your door. You step onto the road, and if you don't keep "
    "your feet, there\u2019s no knowing where you might be swept off to."
)

RFC7515_A1 = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
RFC7515_A1_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
RFC7515_A2 = (
    f"eyJhbGciOiJSUzI1NiJ9.{JOE}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"
    "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"
    "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"
    "p0igcN_IoypGlUPQGe77Rw"
)
RFC7515_A2_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"
    "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH"
    "SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8"
    "NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RFC7515_A3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
RFC7515_A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_A4 = (
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA."
    "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2Y"
    "BJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
)
RFC7515_A4_KEY = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
RFC7515_A5 = f"eyJhbGciOiJub25lIn0.{JOE}."
RFC8037_A4 = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
RFC8037_A2_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
BILBO = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9"
RFC7520_RSA_KEY = {
    "kty": "RSA",
    "kid": "bilbo.baggins@hobbiton.example",
    "use": "sig",
    "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT"
    "-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqV"
    "wGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-"
    "oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde"
    "3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuC"
    "LqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5g"
    "HdrNP5zw",
    "e": "AQAB",
}
RFC7520_4_1 = (
    f"{BILBO}.{FRODO}."
    "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmK"
    "ZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4J"
    "IwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8w"
    "W1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluP"
    "xUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_f"
    "cIe8u9ipH84ogoree7vjbU5y18kDquDg"
)
RFC7520_4_2 = (
    f"eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{FRODO}."
    "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2I"
    "pN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXU"
    "vdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRX"
    "e8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT"
    "0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a"
    "6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
)
RFC7520_4_3 = (
    f"eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{FRODO}."
    "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvb"
    "u9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kv"
    "AD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
)
RFC7520_4_3_KEY = {
    "kty": "EC",
    "kid": "bilbo.baggins@hobbiton.example",
    "use": "sig",
    "crv": "P-521",
    "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
    "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
}


def jwks(*keys: dict[str, object]) -> dict[str, object]:
    return {"keys": list(keys)}


@pytest.mark.parametrize(
    ("token", "key", "payload"),
    [
        pytest.param(RFC7515_A2, RFC7515_A2_KEY, JOE_CLAIMS, id="RFC 7515 A.2 RS256"),
        pytest.param(RFC7515_A3, RFC7515_A3_KEY, JOE_CLAIMS, id="RFC 7515 A.3 ES256"),
        pytest.param(RFC8037_A4, RFC8037_A2_KEY, b"Example of Ed25519 signing", id="RFC 8037 A.4 EdDSA"),
        pytest.param(RFC7520_4_1, RFC7520_RSA_KEY, FRODO_TEXT.encode(), id="RFC 7520 4.1 RS256"),
    ],
)
def test_a_published_signature_of_an_algorithm_that_we_support_is_accepted(token, key, payload):
    assert verify_jws(token, jwks(key), ALL) == payload
    assert verify_jws(token.encode(), jwks(key), ALL) == payload


@pytest.mark.parametrize(
    ("token", "key"),
    [
        pytest.param(RFC7515_A1, RFC7515_A1_KEY, id="RFC 7515 A.1 HS256"),
        pytest.param(RFC7515_A4, RFC7515_A4_KEY, id="RFC 7515 A.4 ES512"),
        pytest.param(RFC7515_A5, RFC7515_A2_KEY, id="RFC 7515 A.5 none"),
        pytest.param(RFC7520_4_2, RFC7520_RSA_KEY, id="RFC 7520 4.2 PS384"),
        pytest.param(RFC7520_4_3, RFC7520_4_3_KEY, id="RFC 7520 4.3 ES512"),
    ],
)
@pytest.mark.parametrize("allowed", [ALL, CARELESS], ids=["as configured", "carelessly allowed"])
def test_a_published_signature_of_another_algorithm_is_refused_even_if_allowed(token, key, allowed):
    with pytest.raises(AlgorithmNotAllowed):
        verify_jws(token, jwks(key), allowed)


def test_a_published_signature_is_refused_under_every_other_published_key():
    keys = [RFC7515_A2_KEY, RFC7515_A3_KEY, RFC7515_A4_KEY, RFC8037_A2_KEY, RFC7520_RSA_KEY, RFC7515_A1_KEY]
    for token, own in [(RFC7515_A2, 0), (RFC7515_A3, 1), (RFC8037_A4, 3), (RFC7520_4_1, 4)]:
        for index, key in enumerate(keys):
            if index != own:
                with pytest.raises((BadSignature, KeyNotUsable, UnknownKey)):
                    verify_jws(token, jwks(key), ALL)


def test_the_general_and_flattened_json_serialisations_are_refused():
    # RFC 7515 A.6 and A.7: several signatures, or unprotected headers.
    protected, payload, signature = RFC7515_A3.split(".")
    flattened = {"payload": payload, "protected": protected, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": protected, "signature": signature}]}
    for form in (flattened, general):
        with pytest.raises(MalformedToken):
            verify_jws(json.dumps(form), jwks(RFC7515_A3_KEY), ALL)


def test_detached_content_is_refused():
    # RFC 7515 appendix F: the payload is taken out, and nobody hands it in separately here.
    protected, _, signature = RFC7515_A2.split(".")
    with pytest.raises(BadSignature):
        verify_jws(f"{protected}..{signature}", jwks(RFC7515_A2_KEY), ALL)


def test_an_encrypted_token_of_five_parts_is_refused():
    # The shape of RFC 7516 A.1; the content does not matter.
    token = ".".join([b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), "T0tleQ", "aXY", "Y2lwaGVy", "dGFn"])
    with pytest.raises(MalformedToken):
        verify_jws(token, jwks(RFC7515_A2_KEY), ALL)
