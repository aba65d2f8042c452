"""The identity of a bundle: which files it has and the digest that names them.

Training writes bundles and serving reads them. Both use this module, so that the two sides cannot
disagree on what a digest covers. It needs nothing but the standard library, and training may
import it for the price of that.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "manifest.json"
#: May lie beside the manifest and is no part of the digest that it signs.
SIGNATURE: Final = "manifest.sig"
SCHEMA_VERSION: Final = 1

#: Every file a bundle has besides its manifest. Serving opens these and no others.
BUNDLE_FILES: Final = frozenset(
    {"model.onnx", "features.sql", "contract.json", "reference.json", "golden.parquet"}
)


class BundleError(Exception):
    """A bundle that must not be served. The message names the file, the value and the limit."""


def content_digest(manifest: Mapping[str, Any]) -> str:
    """Return the digest that names a bundle.

    `provenance` (times, run ids) is left out: the same content made twice has the same digest.

    Args:
        manifest: The manifest as read from or about to be written to `manifest.json`.

    Returns:
        64 lower-case hex characters: SHA-256 of the canonical JSON.
    """
    content = {key: value for key, value in manifest.items() if key != "provenance"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the digest that the manifest of a folder gives it. The files are not looked at.

    Raises:
        BundleError: The manifest is missing or unreadable.
    """
    return content_digest(_read_manifest(folder))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex characters, read as a stream.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(folder: Path, digest: str) -> dict[str, Any]:
    """Check that a folder holds exactly the bundle a digest names.

    Args:
        folder: The bundle's folder.
        digest: The digest the desired state asks for, 64 hex characters.

    Returns:
        The manifest.

    Raises:
        BundleError: A file is missing, unexpected, not a plain file or changed, or the manifest
            is unreadable or has another digest. The message names the file, what was expected
            and what was found.
    """
    manifest = _read_manifest(folder)
    found = content_digest(manifest)
    if found != digest:
        raise BundleError(f"{folder / MANIFEST}: expected content digest {digest}, found {found}")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST}: 'files' must be an object, found {files!r:.80}")
    # Compared with fixed names before any path is built: "../x" never reaches the file system.
    _same_names(f"{folder / MANIFEST}: 'files'", set(files))
    _same_names(f"{folder}", {entry.name for entry in folder.iterdir()} - {MANIFEST, SIGNATURE})
    for name in sorted(BUNDLE_FILES):
        _verify_file(folder / name, files[name])
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path}: expected a JSON object, found {type(manifest).__name__}")
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(f"{path}: expected schema_version {SCHEMA_VERSION}, found {version!r}")
    return manifest


def _same_names(where: str, found: set[str]) -> None:
    if missing := sorted(BUNDLE_FILES - found):
        raise BundleError(f"{where}: missing {', '.join(missing)}")
    if extra := sorted(found - BUNDLE_FILES):
        raise BundleError(f"{where}: not a bundle file: {', '.join(map(repr, extra[:5]))}")


def _verify_file(path: Path, entry: Any) -> None:
    expected = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(expected, str):
        raise BundleError(f"{path.parent / MANIFEST}: files[{path.name!r}] has no sha256")
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{path}: not a plain file")
    try:
        size, found = path.stat().st_size, file_digest(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if found != expected:
        raise BundleError(f"{path}: expected sha256 {expected}, found {found} ({size} bytes)")
