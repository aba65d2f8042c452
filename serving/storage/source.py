"""Storage roots that serving reads: a local folder, or a prefix of a bucket."""

import shutil
from contextlib import suppress
from errno import ENOENT
from pathlib import Path
from typing import Final, Protocol

from serving.bundle.manifest import BUNDLE_FILES, MANIFEST, SIGNATURE, BundleError
from serving.storage.bucket import SCHEME, Object, StoreError, bucket

#: Larger bundles are not fetched: a wrong address must not fill the disk.
LARGEST_BUNDLE_BYTES: Final = 1 << 30

# The follower looks again anyway; until then the last good bundle serves.
_PATIENCE_SECONDS: Final = 2.0
# A store that takes requests and never answers is down, too.
_LOOK_SECONDS: Final = 5.0
_FETCH_SECONDS: Final = 120.0


class Source(Protocol):
    """What is asked of a storage root. Keys are relative to it.

    Attributes:
        identity: The same for no other storage root.
    """

    identity: str

    def name(self, key: str) -> str:
        """The key as a person would look it up."""

    def stamp(self, key: str) -> str:
        """Another one for any other content of a file.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The storage does not say.
        """

    def read(self, key: str) -> bytes:
        """The content of a file; raises as `stamp` does."""

    def fetch(self, key: str, folder: Path) -> None:
        """Copy the files of a bundle, unverified, to a local folder.

        Raises:
            BundleError: A file is missing, all of them are too large, or the key leads out of the
                storage root.
            OSError: The storage does not give them, or the folder does not take them.
        """


def open_source(root: str) -> Source:
    """The source at a storage root, which is a path or `s3://bucket/prefix`."""
    return BucketSource(root) if root.startswith(SCHEME) else FolderSource(Path(root))


class FolderSource:
    """A local folder, which may be the mount of a remote one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.identity = str(root.absolute())

    def name(self, key: str) -> str:
        return str(self._root / key)

    def stamp(self, key: str) -> str:
        path = self._root / key
        try:
            status = path.stat()
        except FileNotFoundError as error:
            if not self._root.is_dir() or not any(self._root.iterdir()):
                # A place that is not mounted says nothing about what should serve.
                reason = f"{error.strerror}, nor anything else in {self._root}: is it mounted?"
                raise StoreError(f"{path}: no desired state: {reason}") from None
            raise
        # The last one is set by every write; what copies in place can keep all the others.
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        return f"{times} {status.st_size} {status.st_ino}"

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    def local(self, key: str) -> Path:
        """The folder of a bundle itself.

        Raises:
            BundleError: If the key leads out of the storage root.
        """
        folder = (self._root / key).resolve()
        if not folder.is_relative_to(self._root.resolve()):
            raise BundleError(f"bundle {key!r} lies outside the storage root {self._root}")
        return folder

    def fetch(self, key: str, folder: Path) -> None:
        found = self.local(key)
        for name in sorted({MANIFEST, *BUNDLE_FILES}):
            if not (found / name).is_file():
                raise BundleError(f"{found / name}: missing")
        sizes = {name: (found / name).stat().st_size for name in {MANIFEST, *BUNDLE_FILES}}
        check_size(str(found), sum(sizes.values()))
        for name in sorted(sizes):
            shutil.copyfile(found / name, folder / name)
        with suppress(FileNotFoundError):
            shutil.copyfile(found / SIGNATURE, folder / SIGNATURE)


class BucketSource:
    """A prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self._bucket = bucket(url, _PATIENCE_SECONDS, _LOOK_SECONDS)
        self._files = bucket(url, _PATIENCE_SECONDS, _FETCH_SECONDS)
        self.identity = f"{self._bucket.url} at {self._bucket.at}"

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

    def fetch(self, key: str, folder: Path) -> None:
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise BundleError(f"bundle {key!r} lies outside the storage root {self._bucket.url}")
        total = 0
        # By name: what else lies there is neither fetched nor looked at.
        for name in sorted({MANIFEST, *BUNDLE_FILES}):
            try:
                found = self._look(f"{key}/{name}")
                total += found.size
                check_size(self.name(key), total)
                self._files.download(found, folder / name)
            except FileNotFoundError:
                raise BundleError(f"{self.name(key)}/{name}: missing") from None
        signature = self._bucket.look(f"{key}/{SIGNATURE}")
        if signature is not None:
            check_size(self.name(key), total + signature.size)
            self._files.download(signature, folder / SIGNATURE)


def check_size(where: str, size: int) -> None:
    """Refuse a bundle that is too large to fetch.

    Raises:
        BundleError: It is larger than `LARGEST_BUNDLE_BYTES`.
    """
    if size > LARGEST_BUNDLE_BYTES:
        raise BundleError(f"{where}: larger than {LARGEST_BUNDLE_BYTES} bytes")
