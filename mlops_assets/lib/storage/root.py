"""The storage root: where every byte of data lives, written so that a kill leaves old or new.

Objects are immutable and named by their digest; a small JSON pointer, replaced last, says which one
is current. The root is a local folder or a prefix of an S3 bucket, and everything else is the same.
"""

import json
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlops_assets.lib.storage.local_place import PARTIAL_PREFIX, LocalPlace
from serving.bundle.manifest import file_digest
from serving.storage.bucket import SCHEME, Object

__all__ = ["PARTIAL_PREFIX", "ChangedError", "DamagedError", "Storage", "as_bytes"]


class DamagedError(ValueError):
    """A record that cannot be read; the message names it."""


class ChangedError(Exception):
    """A file is not what was judged; the message names it."""


class Place(Protocol):
    """What a storage asks of the place where its bytes lie. Keys are normal and stay inside."""

    root: str

    def uri(self, key: str) -> str:
        """How others name what is stored under a key."""

    def local(self, key: str) -> Path:
        """A local file or folder with what is stored under a key now."""

    def exists(self, key: str) -> bool:
        """Whether a file or a folder is there."""

    def read(self, key: str) -> bytes | None:
        """The content of a file, or None where there is none."""

    def open(self, key: str) -> BinaryIO:
        """The content of a file, to be read once; no copy of it is left on this machine."""

    def write(self, key: str, content: bytes) -> None:
        """Replace a file, at once."""

    def create(self, key: str, content: bytes) -> bool:
        """Write a file only if the key is free, whoever else tries at the same time."""

    def add(self, folder: str, name: str, content: bytes) -> None:
        """Replace a file of a folder, at once and without any other file in it meanwhile."""

    def writing(self, key: str) -> AbstractContextManager[Path]:
        """A temporary path; what is there at the end of the block is published."""

    def names(self, prefix: str) -> list[str]:
        """Names of files and folders right under a prefix."""

    def files(self, prefix: str) -> Iterable[Object]:
        """Every file at or under a prefix."""

    def changed(self, key: str) -> float:
        """When a file or folder was last changed, in seconds since the epoch."""

    def leftovers(self, prefix: str) -> list[str]:
        """What killed processes have left under temporary names."""

    def remove(self, key: str) -> None:
        """Remove a file or a folder."""

    def check(self) -> None:
        """Raise an ``OSError`` if the place cannot do what the rest counts on."""


def _place(root: str) -> Place:
    if root.startswith(SCHEME):
        from mlops_assets.lib.storage.s3_place import S3Place

        return S3Place(root)
    folder = root.removeprefix("file://")
    if re.match(r"[a-z][a-z0-9+.-]+:", folder):
        raise ValueError(
            f"storage root {root!r}: give a local folder, file:///folder or s3://bucket/prefix"
        )
    return LocalPlace(Path(folder))


class Storage:
    """Files under a root, with atomic writes. Keys are relative paths with forward slashes.

    Attributes:
        root: An absolute path, or ``s3://bucket/prefix``.
    """

    def __init__(self, root: Path | str) -> None:
        self._place = _place(str(root))
        self.root = self._place.root

    def _inside(self, key: str) -> str:
        """The normal form of a key.

        Raises:
            ValueError: If the key leaves the storage root.
        """
        normal = posixpath.normpath(key)
        if normal.startswith(("../", "/")) or normal == "..":
            raise ValueError(f"the key {key!r} leaves the storage root {self.root}")
        return "" if normal == "." else normal

    def uri(self, key: str) -> str:
        """What to tell others of a key: an absolute path, or ``s3://bucket/prefix/key``."""
        return self._place.uri(self._inside(key))

    def local(self, key: str) -> Path:
        """A local path with what is stored under a key now: itself, or a copy not to be written to.

        Raises:
            FileNotFoundError: If the store is remote and has no such file or folder. (A local path
                is given as it is.)
        """
        return self._place.local(self._inside(key))

    def verified(self, key: str, digest: str) -> Path:
        """A local path of a file that is still what its digest says.

        Raises:
            ChangedError: If it is gone or has other bytes than those that were judged.
        """
        return self._verified(key, {"": digest})

    def verified_folder(self, key: str, files: Mapping[str, str]) -> Path:
        """A local path of a folder whose files are still what their digests say.

        Args:
            key: Of the folder.
            files: Digest by name.

        Raises:
            ChangedError: Naming the first file that is gone or has changed.
        """
        return self._verified(key, files)

    def _verified(self, key: str, files: Mapping[str, str]) -> Path:
        try:
            path = self.local(key)
        except FileNotFoundError:
            path = None
        for name, digest in files.items():
            if path is None or not (path / name).is_file() or file_digest(path / name) != digest:
                raise ChangedError(
                    f"{self.uri(f'{key}/{name}')} is gone or has changed since it was made "
                    f"({digest[:12]} expected): remove it and materialise the asset that makes it"
                )
        assert path is not None
        return path

    def exists(self, key: str) -> bool:
        """Whether something is stored under the key."""
        return self._place.exists(self._inside(key))

    def open(self, key: str) -> BinaryIO:
        """Open a file to read it once. Unlike ``local`` it leaves no copy on this machine.

        Raises:
            FileNotFoundError: If there is none.
        """
        return self._place.open(self._inside(key))

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Read a pointer, or None where there is none.

        Raises:
            DamagedError: If it is no JSON object.
        """
        content = self._place.read(self._inside(key))
        if content is None:
            return None
        try:
            value: object = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{self.uri(key)} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise DamagedError(f"{self.uri(key)} cannot be read: it is no JSON object")
        return value

    def write_json(self, key: str, value: Mapping[str, Any]) -> None:
        """Replace a pointer."""
        self._place.write(self._inside(key), as_bytes(value))

    def create_json(self, key: str, value: Mapping[str, Any]) -> bool:
        """Write a record only if the key is free.

        Returns:
            False if another writer holds the key already; nothing is written then.
        """
        return self._place.create(self._inside(key), as_bytes(value))

    def add_json(self, folder: str, name: str, value: Mapping[str, Any]) -> None:
        """Put one more record into a published folder, or replace it.

        For folders whose readers allow no file that they do not know, a temporary one included.
        """
        self._place.add(self._inside(folder), name, as_bytes(value))

    def list(self, prefix: str) -> list[str]:
        """Names of the finished entries right under a prefix, sorted."""
        names = self._place.names(self._inside(prefix))
        return sorted(name for name in names if not name.startswith(PARTIAL_PREFIX))

    def files(self, prefix: str) -> Iterator[Object]:
        """Every file at a key or under it, however deep, in the order of their keys."""
        yield from self._place.files(self._inside(prefix))

    def changed(self, key: str) -> float:
        """When a file or folder was last changed, in seconds since the epoch."""
        return self._place.changed(self._inside(key))

    def leftovers(self, prefix: str) -> Sequence[str]:
        """Keys of temporary files and folders that killed processes have left under a prefix."""
        return sorted(self._place.leftovers(self._inside(prefix)))

    def remove(self, key: str) -> None:
        """Remove a file or a folder, and everything in it."""
        self._place.remove(self._inside(key))

    def writing(self, key: str) -> AbstractContextManager[Path]:
        """Give a temporary path to write a file or to fill a new folder at; publish it at the end.

        A file replaces what is there. A folder that is already there is kept, since folders are
        named by the digest of their content. When the block raises, nothing is published.
        """
        return self._place.writing(self._inside(key))

    def publish(self, local: Path, key: str) -> None:
        """Copy a finished local file or folder to a key, so that a reader sees all of it."""
        with self.writing(key) as partial:
            if local.is_dir():
                shutil.copytree(local, partial)
            else:
                shutil.copyfile(local, partial)

    def check(self) -> None:
        """Try what the other methods count on.

        Raises:
            OSError: Saying what the place cannot do, or why it cannot be reached.
        """
        self._place.check()


def as_bytes(value: Mapping[str, Any]) -> bytes:
    """A pointer or a record as it is written."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode()
