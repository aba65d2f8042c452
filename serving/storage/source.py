"""Where desired states and bundles come from: a local folder, or a bucket.

A bundle of a bucket is fetched into a temporary folder, loaded from there, and thrown away: once
loaded it is all in memory.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path
from typing import Final, Protocol

from serving.bundle.manifest import BUNDLE_FILES, MANIFEST, SIGNATURE, BundleError
from serving.storage.bucket import SCHEME, Object, bucket

# The follower looks again anyway; until then the last good bundle serves.
_PATIENCE_SECONDS: Final = 5.0


class Source(Protocol):
    """What a follower asks of a storage root. Keys are relative to it."""

    def name(self, key: str) -> str:
        """The key as a person would look it up."""

    def stamp(self, key: str) -> str:
        """Another one for any other content of a file. Raises an `OSError` if there is none."""

    def read(self, key: str) -> bytes:
        """The content of a file."""

    @contextmanager
    def bundle(self, key: str) -> Iterator[Path]:
        """A local folder with the files of a bundle, unverified, for as long as it takes to load.

        Raises:
            BundleError: If the key leads out of the storage root.
        """


def open_source(root: str) -> Source:
    """The source at a storage root, which is a path or `s3://bucket/prefix`."""
    return BucketSource(root) if root.startswith(SCHEME) else FolderSource(Path(root))


class FolderSource:
    """A local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def name(self, key: str) -> str:
        return str(self._root / key)

    def stamp(self, key: str) -> str:
        status = (self._root / key).stat()
        return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    @contextmanager
    def bundle(self, key: str) -> Iterator[Path]:
        folder = (self._root / key).resolve()
        if not folder.is_relative_to(self._root.resolve()):
            raise BundleError(f"bundle {key!r} lies outside the storage root {self._root}")
        yield folder


class BucketSource:
    """A prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self._bucket = bucket(url, _PATIENCE_SECONDS)

    def name(self, key: str) -> str:
        return f"{self._bucket.url}/{key}"

    def stamp(self, key: str) -> str:
        return self._look(key).stamp

    def read(self, key: str) -> bytes:
        return self._bucket.read(key)

    def _look(self, key: str) -> Object:
        found = self._bucket.look(key)
        if found is None:
            raise FileNotFoundError(ENOENT, "No such object", self.name(key))
        return found

    @contextmanager
    def bundle(self, key: str) -> Iterator[Path]:
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise BundleError(f"bundle {key!r} lies outside the storage root {self._bucket.url}")
        with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
            # By name: what else lies there is neither fetched nor looked at.
            for name in sorted({MANIFEST, *BUNDLE_FILES}):
                try:
                    self._bucket.download(self._look(f"{key}/{name}"), Path(scratch) / name)
                except FileNotFoundError:
                    raise BundleError(f"{self.name(key)}/{name}: missing") from None
            signature = self._bucket.look(f"{key}/{SIGNATURE}")
            if signature is not None:
                self._bucket.download(signature, Path(scratch) / SIGNATURE)
            try:
                yield Path(scratch)
            except BundleError as error:
                # Named as it lies in the store, and alike at every attempt.
                raise BundleError(str(error).replace(scratch, self.name(key))) from error
