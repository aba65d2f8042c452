"""Where files go that serving writes: a local folder, or a bucket.

A file has its name only when it is whole, and writing it again replaces it as a whole.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from serving.storage.bucket import SCHEME, StoreError, bucket

#: What unfinished files are called; `mlops prune` removes those that a kill left behind.
PARTIAL_PREFIX: Final = ".partial-"

# Whoever writes tries again by himself, with longer pauses than the client's.
_PATIENCE_SECONDS: Final = 5.0


class Sink(Protocol):
    """A storage root that takes files. Keys are relative to it."""

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A path to write a file to, which gets its name when the block ends well.

        Raises:
            OSError: The folder or the store does not take it.
        """


def open_sink(root: str, scratch: Path) -> Sink:
    """The sink at a storage root, which is a path or `s3://bucket/prefix`.

    Args:
        root: The storage root.
        scratch: A folder for files on their way to a store.
    """
    return BucketSink(root, scratch) if root.startswith(SCHEME) else FolderSink(Path(root))


class FolderSink:
    """A local folder, which may be the mount of a remote one, and is never made here.

    Where nothing is mounted, what is written would lie on the wrong disk, and make a storage root
    out of a place that says nothing about what should serve.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        target = self._root / key
        self._make_folder(Path(key).parent)
        partial = target.with_name(f"{PARTIAL_PREFIX}{target.name}")
        try:
            yield partial
            _sync(partial)
            partial.replace(target)
            # Folders that were made on the way, too: what the file was made of may go after this.
            for folder in target.parents:
                _sync(folder)
                if folder == self._root:
                    break
        finally:
            partial.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        problem = f"{self._root}: absent or empty, so nothing is written there: is it mounted?"
        try:
            # Held open, it stays the folder that was looked at, whatever is unmounted meanwhile.
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise StoreError(problem) from None
        try:
            if not os.listdir(root):  # noqa: PTH208  # of a descriptor
                raise StoreError(problem)
            for each in (*reversed(folder.parents[:-1]), folder):
                with suppress(FileExistsError):
                    os.mkdir(each, dir_fd=root)
        finally:
            os.close(root)


class BucketSink:
    """A prefix of a bucket."""

    def __init__(self, url: str, scratch: Path) -> None:
        self._bucket = bucket(url, _PATIENCE_SECONDS)
        self._scratch = scratch

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        partial = self._scratch / f"{PARTIAL_PREFIX}{key.rsplit('/', 1)[-1]}"
        try:
            yield partial
            self._bucket.put(key, partial)
        finally:
            partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
