"""Who answers a request: a share of the keys that is exact, sticky and the same in every process.

A key is hashed to a place from 0 to 100, and a challenger gets those below its percentage. So one
key is always answered by the same version, and a percentage that grows takes nobody back.
"""

from hashlib import blake2b
from typing import Final

# As many as a float tells apart, so that none is rounded up to 100.
_BITS: Final = 53


def place(salt: str, purpose: str, key: str) -> float:
    """The place of a key, evenly spread from 0 (included) to 100.

    Args:
        salt: Other salts put the keys to other places.
        purpose: Of the split, so that two splits do not choose the same keys.
        key: An entity's or a request's id.
    """
    text = f"{salt}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(text, digest_size=8).digest()) >> (64 - _BITS)
    return number / (1 << _BITS) * 100
