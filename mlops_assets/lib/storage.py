"""The storage root: where every byte of data lives, written so that a kill leaves old or new.

A file is finished under a temporary name on the same volume and renamed. Objects are immutable and
named by their digest; a small JSON pointer, replaced last, says which one is current.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.manifest import file_digest

PARTIAL_PREFIX = ".partial-"


class ChangedError(Exception):
    """A file is not what was judged; the message names it."""


class Storage:
    """A folder with atomic writes. Keys are relative paths with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 (".." must go: keys are compared)

    def path(self, key: str) -> Path:
        """The absolute path of a key.

        Raises:
            ValueError: If the key leaves the storage root.
        """
        path = Path(os.path.normpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise ValueError(f"the key {key!r} leaves the storage root {self.root}")
        return path

    def verified(self, key: str, digest: str) -> Path:
        """The path of a file that is still what its digest says.

        Raises:
            ChangedError: If it is gone or has other bytes than those that were judged.
        """
        path = self.path(key)
        if not path.is_file() or file_digest(path) != digest:
            raise ChangedError(
                f"{path} is gone or has changed since it was made ({digest[:12]} expected): "
                "remove it and materialise the asset that makes it"
            )
        return path

    def verified_folder(self, key: str, files: Mapping[str, str]) -> Path:
        """The path of a folder whose files are still what their digests say.

        Args:
            key: Of the folder.
            files: Digest by name.

        Raises:
            ChangedError: Naming the first file that is gone or has changed.
        """
        for name, digest in files.items():
            self.verified(f"{key}/{name}", digest)
        return self.path(key)

    def exists(self, key: str) -> bool:
        """Whether something is stored under the key."""
        return self.path(key).exists()

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Read a pointer, or None where there is none."""
        try:
            text = self.path(key).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        value: dict[str, Any] = json.loads(text)
        return value

    def write_json(self, key: str, value: Mapping[str, Any]) -> None:
        """Replace a pointer."""
        with self.writing(key) as partial:
            partial.write_text(_as_text(value), encoding="utf-8")

    def create_json(self, key: str, value: Mapping[str, Any]) -> bool:
        """Write a record only if the key is free.

        Returns:
            False if another writer holds the key already; nothing is written then.
        """
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            partial.write_text(_as_text(value), encoding="utf-8")
            _flush(partial)
            try:
                os.link(partial, target)  # unlike a rename, fails where the name is taken
            except FileExistsError:
                return False
            _flush(target.parent)
        finally:
            partial.unlink(missing_ok=True)
        return True

    def list(self, prefix: str) -> list[str]:
        """Names of the finished entries right under a prefix, sorted."""
        folder = self.path(prefix)
        if not folder.is_dir():
            return []
        return sorted(
            entry.name for entry in folder.iterdir() if not entry.name.startswith(PARTIAL_PREFIX)
        )

    def leftovers(self, prefix: str) -> Sequence[Path]:
        """Temporary files and folders that killed processes have left under a prefix."""
        return sorted(self.path(prefix).rglob(f"{PARTIAL_PREFIX}*"))

    def remove(self, path: Path) -> int:
        """Remove a file or a folder of this storage.

        A folder goes by a temporary name first, so that a kill leaves none that is half there.

        Returns:
            The bytes that are free now.

        Raises:
            ValueError: If the path is outside the storage root.
        """
        target = self.path(str(path.relative_to(self.root)))
        files = [each for each in (target, *target.rglob("*")) if each.is_file()]
        size = sum(file.stat().st_size for file in files)
        if target.is_dir():
            going = target
            if not target.name.startswith(PARTIAL_PREFIX):
                going = target.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
                target.rename(going)
            shutil.rmtree(going)
        else:
            target.unlink(missing_ok=True)
        return size

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """Give a temporary path to write a file or to fill a new folder at; publish it at the end.

        A file replaces what is there. A folder that is already there is kept, since folders are
        named by the digest of their content. When the block raises, nothing is published.
        """
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            yield partial
            if partial.is_dir():
                for entry in (*partial.rglob("*"), partial):
                    _flush(entry)
                try:
                    partial.rename(target)
                except OSError:
                    if not target.is_dir():
                        raise
            else:
                _flush(partial)
                partial.replace(target)
            _flush(target.parent)
        finally:
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)

    def publish(self, local: Path, key: str) -> Path:
        """Copy a finished local file or folder to a key, atomically."""
        with self.writing(key) as partial:
            if local.is_dir():
                shutil.copytree(local, partial)
            else:
                shutil.copyfile(local, partial)
        return self.path(key)


def _as_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _flush(path: Path) -> None:
    """Push a file or a folder's entries to the disk, so that a power cut keeps the order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
