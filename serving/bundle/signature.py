"""Who vouches for a bundle: a signature of a trusted key, or its digest on a list.

A digest says that a bundle is whole; anybody can make another bundle with another digest and write
it into the desired state. A signature says who made it. What is signed is the content digest alone
(Ed25519, RFC 8032), so a bundle may be signed after it was published, and again by another key.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from serving.bundle.manifest import SIGNATURE, BundleError

# What is signed says what it is, so that the key's signature of anything else is worth nothing.
_DOMAIN: Final = b"mlops-bundle-v1\n"
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_LARGEST_FILE_BYTES: Final = 4096
_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Signature:
    """What `manifest.sig` says; nothing is proven by it before it was checked.

    Attributes:
        key: The id of the key that made it.
        value: 64 bytes.
    """

    key: str
    value: bytes

    def record(self) -> dict[str, str]:
        """The content of `manifest.sig`, to be written as JSON."""
        value = base64.b64encode(self.value).decode()
        return {"algorithm": "ed25519", "key": self.key, "signature": value}


def signed_bytes(digest: str) -> bytes:
    """What a signature of a bundle signs.

    Args:
        digest: The content digest, 64 hex characters.
    """
    return _DOMAIN + bytes.fromhex(digest)


def key_id(public: bytes) -> str:
    """The name of a public key: 16 hex characters of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def read_signature(folder: Path) -> Signature | None:
    """Read the signature beside a manifest, or None where there is none.

    Raises:
        BundleError: It is there, and is no signature.
    """
    path = folder / SIGNATURE
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{path}: not a plain file")
    if (size := path.stat().st_size) > _LARGEST_FILE_BYTES:
        raise BundleError(f"{path}: {size} bytes, at most {_LARGEST_FILE_BYTES}")
    try:
        return _parse(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {error}") from None


def _parse(content: Any) -> Signature:
    if not isinstance(content, dict) or content.get("algorithm") != "ed25519":
        raise ValueError("expected a JSON object with algorithm 'ed25519'")
    key, text = content.get("key"), content.get("signature")
    if not isinstance(key, str) or not re.fullmatch("[0-9a-f]{16}", key):
        raise ValueError("'key' is not an id of 16 hex characters")
    value = _decode(text) if isinstance(text, str) else None
    if value is None or len(value) != _SIGNATURE_BYTES:
        raise ValueError(f"'signature' is not the base64 of {_SIGNATURE_BYTES} bytes")
    return Signature(key, value)


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def is_valid(signature: Signature, public: bytes, digest: str) -> bool:
    """Whether a signature is that of a key, of the bundle that a digest names."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature.value, signed_bytes(digest))
    except InvalidSignature:
        return False
    return True


def parse_public_keys(text: str) -> dict[str, bytes]:
    """Read public keys, each the base64 of 32 bytes, separated by commas or lines.

    Returns:
        32 bytes by key id.

    Raises:
        ValueError: One of them is none. The message gives its place, not its text: it may be the
            private half.
    """
    keys = {}
    for place, entry in enumerate(entries(text), start=1):
        public = _decode(entry)
        if public is None or len(public) != _KEY_BYTES:
            raise ValueError(f"key {place} is not the base64 of {_KEY_BYTES} bytes")
        keys[key_id(public)] = public
    return keys


def parse_digests(text: str) -> frozenset[str]:
    """Read digests of bundles, separated by commas or lines.

    Raises:
        ValueError: One of them is none; the message gives its place.
    """
    digests = entries(text)
    for place, digest in enumerate(digests, start=1):
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"entry {place} is not a digest (64 lower-case hex characters)")
    return frozenset(digests)


def entries(text: str) -> list[str]:
    """The entries of a list in a variable or a file: by commas or lines, `#` begins a remark."""
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    return [entry for line in lines for part in line.split(",") if (entry := part.strip())]


@dataclass(frozen=True)
class Trust:
    """Who may vouch for a bundle. Where nobody is named, nobody needs to.

    Attributes:
        keys: Public keys, 32 bytes, by their id.
        digests: Bundles that need no signature.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)
    digests: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether somebody must vouch for a bundle."""
        return bool(self.keys or self.digests)

    def check(self, folder: Path, digest: str) -> str | None:
        """Check that a bundle may be served; whether it is what the digest names is not asked here.

        Args:
            folder: The bundle's folder; only its signature is read.
            digest: The digest that it is held against afterwards.

        Returns:
            What vouches for it, in words, or None where nothing has to.

        Raises:
            BundleError: Nothing does; the message says what was found.
        """
        if not self:
            return None
        if digest in self.digests:
            return "the list of digests"
        if not self.keys:
            raise BundleError(f"{folder}: digest {digest} is not on the list of allowed digests")
        signature = read_signature(folder)
        where = folder / SIGNATURE
        if signature is None:
            raise BundleError(f"{where}: missing; only signed bundles are served here")
        public = self.keys.get(signature.key)
        if public is None:
            known = ", ".join(sorted(self.keys))
            raise BundleError(
                f"{where}: signed by the key {signature.key}, which is not trusted (trusted: "
                f"{known})"
            )
        if not is_valid(signature, public, digest):
            raise BundleError(
                f"{where}: not the signature of bundle {digest} by the key {signature.key}"
            )
        return f"the signature of key {signature.key}"


#: Asks nobody: for development, and for bundles that are trusted in another way.
ANYBODY: Final = Trust()
