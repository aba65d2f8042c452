"""Signing bundles, so that serving can tell who made them.

The private key comes from the environment or a mounted secret and is written nowhere. Without one,
bundles are not signed, and a server that asks for a signature says so.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.storage.root import Storage
from serving.bundle.manifest import SIGNATURE
from serving.bundle.signature import Signature, key_id, read_signature, signed_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_VARIABLE = "MLOPS_SIGNING_KEY"
FILE_VARIABLE = "MLOPS_SIGNING_KEY_FILE"
_KEY_BYTES = 32
_PEM = "-----BEGIN"


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key pair."""

    _private: Ed25519PrivateKey

    @classmethod
    def new(cls) -> SigningKey:
        """Make a key pair."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read a private key: the base64 of 32 bytes, or PEM (PKCS 8) without a passphrase.

        Raises:
            ValueError: If it is neither. The message holds nothing of it.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if text.lstrip().startswith(_PEM):
            try:
                private = load_pem_private_key(text.strip().encode(), None)
            except (TypeError, ValueError, UnsupportedAlgorithm):
                raise ValueError("is not a private key in PEM without a passphrase") from None
            if not isinstance(private, Ed25519PrivateKey):
                raise ValueError("is a private key of another kind than Ed25519")
            return cls(private)
        try:
            seed = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            seed = b""
        if len(seed) != _KEY_BYTES:
            raise ValueError(f"is neither the base64 of {_KEY_BYTES} bytes nor PEM")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def private(self) -> str:
        """The private half as base64; for the file of a secret and nothing else."""
        return base64.b64encode(self._private.private_bytes_raw()).decode()

    @property
    def public(self) -> str:
        """The public half as base64, as serving reads it."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    @property
    def id(self) -> str:
        """The name of the public half."""
        return key_id(self._private.public_key().public_bytes_raw())

    def sign(self, digest: str) -> Signature:
        """Sign a bundle; the same bundle gives the same signature.

        Args:
            digest: Its content digest.
        """
        return Signature(self.id, self._private.sign(signed_bytes(digest)))


def key_from_environment() -> SigningKey | None:
    """The key of this deployment, or None where bundles are not signed.

    Raises:
        ValueError: If there is one that cannot be read.
    """
    text, path = os.environ.get(KEY_VARIABLE), os.environ.get(FILE_VARIABLE)
    where = KEY_VARIABLE if text else f"{FILE_VARIABLE}={path}"
    try:
        if not text and path:
            text = Path(path).read_text("utf-8")
        return SigningKey.parse(text) if text else None
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not text") from None
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None


def write_signature(key: SigningKey, digest: str, folder: Path) -> None:
    """Sign a bundle that is not published yet."""
    text = json.dumps(key.sign(digest).record(), indent=2, sort_keys=True)
    (folder / SIGNATURE).write_text(text + "\n", encoding="utf-8")


def sign_stored(key: SigningKey, digest: str, store: Storage, bundle: str) -> None:
    """Sign a published bundle, unless this key has signed it.

    Args:
        key: Replaces the signature of another one.
        digest: The bundle's.
        store: The storage root.
        bundle: The bundle's folder in it.
    """
    signature = key.sign(digest)
    if _stored(store, bundle) != signature.record():
        store.add_json(bundle, SIGNATURE, signature.record())


def _stored(store: Storage, bundle: str) -> dict[str, Any] | None:
    try:
        return store.read_json(f"{bundle}/{SIGNATURE}")
    except ValueError:  # no JSON; it is replaced
        return None


def said_of(folder: Path, key: SigningKey | None, digest: str) -> tuple[bool, str]:
    """Whether the signature of a bundle is right as far as can be told here, and what it is.

    Args:
        folder: Of the bundle.
        key: That signs here; its signature must be there.
        digest: The bundle's.

    Raises:
        serving.bundle.manifest.BundleError: If what lies there is no signature.
    """
    found = read_signature(folder)
    if key is not None and found != key.sign(digest):
        return False, f"not signed by the key {key.id} of this deployment"
    return True, "not signed" if found is None else f"signed by the key {found.key}"
