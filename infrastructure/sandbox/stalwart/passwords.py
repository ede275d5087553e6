"""Passwords: how strong they must be, and how they are kept (scrypt, RFC 7914)."""

import base64
import hashlib
import hmac
import math
import re
import secrets

SHORTEST, LONGEST = 8, 128
# zxcvbn's score three is 10^8 guesses (Wheeler, USENIX Security 2016); the guesses here are those of brute force after
# everything that a guesser tries first has been collapsed to nearly nothing.
GUESSES = 1e8
COMMON = ("password", "passwort", "welcome", "qwerty", "letmein", "admin", "secret", "abc", "123456789", "12345678")
COST, BLOCK, PARALLEL = 2**13, 8, 1
DIGESTS = {"SHA": "sha1", "SSHA": "sha1", "SHA256": "sha256", "SSHA256": "sha256", "SHA512": "sha512"}
NOBODY = f"$scrypt${'00' * 16}${'00' * 64}"


def weakness(password: str) -> str | None:
    """Why the password is refused, if it is."""
    if len(password) < SHORTEST:
        return f"Password must be at least {SHORTEST} characters long."
    if len(password) > LONGEST:
        return f"Password must be at most {LONGEST} characters long."
    rest = password.lower()
    for word in COMMON:
        rest = rest.replace(word, "a")
    rest = _without_runs(re.sub(r"(.+?)\1+", r"\1", rest))
    alphabet = 10 if rest.isdigit() else 26 if rest.isalpha() else 40
    if len(rest) * math.log10(alphabet) < math.log10(GUESSES):
        return "Password is too weak."
    return None


def _without_runs(text: str) -> str:
    """`1234` and `abcd` are no harder to guess than their first character."""
    return "".join(now for now, last in zip(text, " " + text, strict=False) if ord(now) != ord(last) + 1)


def is_hash(secret: str) -> bool:
    """A value in this form is kept as it is: `$scheme$...` or `{SCHEME}...`."""
    return re.fullmatch(r"\$[a-z0-9-]+\$.+|\{[A-Za-z0-9.-]+\}.+", secret) is not None


def hash_password(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"$scrypt${salt.hex()}${_derive(password, salt).hex()}"


def verify(password: str, kept: str | None) -> bool:
    """False for a hash of a scheme that only the original knows. Takes its time for nobody, too."""
    if kept and kept.startswith("{"):
        return _verify_digest(password, kept)
    parts = re.fullmatch(r"\$scrypt\$([0-9a-f]{32})\$([0-9a-f]{128})", kept or NOBODY)
    if parts is None:
        return False
    salt, expected = parts.groups()
    right = hmac.compare_digest(_derive(password, bytes.fromhex(salt)), bytes.fromhex(expected))
    return right and kept is not None


def _verify_digest(password: str, kept: str) -> bool:
    scheme, _, encoded = kept[1:].partition("}")
    name = DIGESTS.get(scheme.upper())
    if name is None:
        return False
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    size = hashlib.new(name).digest_size
    return hmac.compare_digest(hashlib.new(name, password.encode() + content[size:]).digest(), content[:size])


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL)
