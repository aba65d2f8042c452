"""Where files go that serving writes: a local folder, or a bucket.

A file has its name only when it is whole, and writing it again replaces it as a whole.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from serving.storage.bucket import SCHEME, bucket

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
    """A local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
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
