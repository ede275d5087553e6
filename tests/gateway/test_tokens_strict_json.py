import base64
import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strict_json import MAX_DEPTH, StrictError, decode_base64url, encode_base64url, parse_object


@pytest.mark.parametrize(
    ("encoded", "plain"),
    # RFC 4648 section 10, without padding, and RFC 7515 appendix C.
    [
        (b"", b""),
        (b"Zg", b"f"),
        (b"Zm8", b"fo"),
        (b"Zm9v", b"foo"),
        (b"Zm9vYg", b"foob"),
        (b"Zm9vYmE", b"fooba"),
        (b"Zm9vYmFy", b"foobar"),
        (b"A-z_4ME", bytes([3, 236, 255, 224, 193])),
    ],
)
def test_published_base64url_decodes_and_encodes(encoded, plain):
    assert decode_base64url(encoded) == plain
    assert encode_base64url(plain) == encoded


@pytest.mark.parametrize(
    "encoded",
    [b"Zg==", b"Zm8=", b"Z", b"Zm9vY", b"Zh", b"Zm9", b"Zm 9v", b"Zm9v\n", b"A+z/4ME", b"Zm9v!", b"\xff", b"="],
)
def test_what_is_not_canonical_base64url_is_refused(encoded):
    with pytest.raises(StrictError):
        decode_base64url(encoded)


@given(st.binary())
def test_every_byte_string_survives_the_round_trip(raw):
    encoded = encode_base64url(raw)
    assert encoded == base64.urlsafe_b64encode(raw).rstrip(b"=")
    assert decode_base64url(encoded) == raw


@given(st.binary(max_size=24))
def test_an_accepted_spelling_is_the_only_one(encoded):
    try:
        plain = decode_base64url(encoded)
    except StrictError:
        return
    assert base64.urlsafe_b64encode(plain).rstrip(b"=") == encoded


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.booleans())
def test_every_proper_object_is_read_as_it_was_written(members, ascii_only):
    assert parse_object(json.dumps(members, ensure_ascii=ascii_only).encode()) == members


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(raw):
    with contextlib.suppress(StrictError):
        assert isinstance(parse_object(raw), dict)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"a":{"b":1,"b":2}}',
        '{"a":[{"b":1,"b":2}]}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e400}',
        '{"a":"\\ud800"}',
        '{"\\udfff":1}',
        '{"a":"\\udc00\\ud800"}',
        '{"a":01}',
        '{"a":+1}',
        '{"a":.5}',
        '{"a":"\t"}',
        '{"a":1}{}',
        '{"a":1,}',
        "{a:1}",
        "[]",
        "1",
        "null",
        '"a"',
        "",
        "\ufeff{}",
        "{} //",
        '{"a":' + "9" * 5_000 + "}",
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text):
    with pytest.raises(StrictError):
        parse_object(text.encode())


def test_a_surrogate_pair_is_one_character():
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


def test_bytes_that_are_not_utf8_are_refused():
    for raw in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}', '{"a":1}'.encode("utf-16")):
        with pytest.raises(StrictError):
            parse_object(raw)


def nested(levels):
    return ('{"a":' * levels + "1" + "}" * levels).encode()


def test_an_object_may_be_as_deep_as_the_limit_and_no_deeper():
    assert parse_object(nested(MAX_DEPTH))
    with pytest.raises(StrictError):
        parse_object(nested(MAX_DEPTH + 1))
    for bomb in (b"[" * 1_000_000, b'{"a":' * 200_000, b'{"a":' + b"[" * 7_000 + b"]" * 7_000 + b"}"):
        with pytest.raises(StrictError):
            parse_object(bomb)


def test_brackets_in_strings_and_side_by_side_are_not_depth():
    members = {"text": "[{" * 500, "quoted": '"[\\' * 100, "list": [[] for _ in range(500)]}
    assert parse_object(json.dumps(members).encode()) == members


def test_hostile_quotes_cost_no_more_than_their_length():
    # An endless string of escaped quotes after many brackets: quadratic in a reader that looks for its end.
    def seconds(length):
        raw = b'{"a":[' * 40 + b'"' + b'\\"' * length
        started = time.perf_counter()
        with pytest.raises(StrictError):
            parse_object(raw)
        return time.perf_counter() - started

    small = min(seconds(4_000) for _ in range(5))
    large = min(seconds(64_000) for _ in range(5))
    assert large < 16 * small * 4
