"""Pseudonyms: a keyed digest in place of personal data, the same wherever a value is met.

The key comes from the environment and is written nowhere. Without it nobody can tell whose digest
it is, not even by trying every possible value.
"""

import hmac
import os

KEY_VARIABLE = "MLOPS_PII_KEY"
LEAST_CHARACTERS = 16


def pseudonym(value: str, key: str) -> str:
    """The keyed digest that stands for a value: HMAC-SHA256 (RFC 2104), 64 hexadecimal characters.

    Args:
        value: As it landed, trimmed by the caller as the contract reads it.
        key: Of ``key_from_environment``.
    """
    return hmac.new(key.encode(), value.encode(), "sha256").hexdigest()


def key_from_environment() -> str:
    """The key of this deployment.

    Raises:
        ValueError: If there is none, or one that is short enough to be tried out.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) < LEAST_CHARACTERS:
        found = f"has {len(key)} characters" if key else "is not set"
        raise ValueError(
            f"{KEY_VARIABLE} {found}: personal data are hashed with a key of "
            f"{LEAST_CHARACTERS} characters or more, the same for as long as the data are kept"
        )
    return key
