"""Content digests: the one way in which files and records are named and compared.

A digest is the lower-case hexadecimal SHA-256. Records are digested as canonical JSON, so the order
of keys never changes a digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.bundle.manifest import file_digest

__all__ = ["digest_of", "file_digest", "short"]

SHORT_LENGTH = 12


def digest_of(value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """Digest a JSON-compatible value.

    Args:
        value: A mapping, a sequence or a string of JSON-compatible values.

    Returns:
        64 hexadecimal characters.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(digest: str) -> str:
    """The first 12 characters: enough for a person and for a file name."""
    return digest[:SHORT_LENGTH]
