"""A local folder as the place of a storage.

A file is finished under a temporary name on the same volume and renamed.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from serving.storage.bucket import Object

PARTIAL_PREFIX = ".partial-"


class LocalPlace:
    """Files under one folder. Keys are relative paths that lead nowhere else."""

    def __init__(self, root: Path) -> None:
        self._folder = Path(os.path.abspath(root))  # noqa: PTH100 (".." must go: keys are compared)
        self.root = str(self._folder)

    def uri(self, key: str) -> str:
        return str(self._folder / key)

    def local(self, key: str) -> Path:
        return self._folder / key

    def exists(self, key: str) -> bool:
        return self.local(key).exists()

    def read(self, key: str) -> bytes | None:
        try:
            return self.local(key).read_bytes()
        except FileNotFoundError:
            return None

    def open(self, key: str) -> BinaryIO:
        return self.local(key).open("rb")

    def write(self, key: str, content: bytes) -> None:
        with self.writing(key) as partial:
            partial.write_bytes(content)

    def create(self, key: str, content: bytes) -> bool:
        target = self.local(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            partial.write_bytes(content)
            _flush(partial)
            try:
                os.link(partial, target)  # unlike a rename, fails where the name is taken
            except FileExistsError:
                return False
            _flush(target.parent)
        finally:
            partial.unlink(missing_ok=True)
        return True

    def add(self, folder: str, name: str, content: bytes) -> None:
        target = self.local(folder)
        partial = target.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            partial.write_bytes(content)
            _flush(partial)
            partial.replace(target / name)
            _flush(target)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        target = self.local(key)
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

    def names(self, prefix: str) -> list[str]:
        folder = self.local(prefix)
        return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []

    def files(self, prefix: str) -> Iterator[Object]:
        target = self.local(prefix)
        for path in sorted([target, *target.rglob("*")]):
            try:
                if path.is_file():
                    stat = path.stat()
                    yield Object(
                        str(path.relative_to(self._folder)),
                        stat.st_size,
                        str(stat.st_mtime_ns),
                        stat.st_mtime,
                    )
            except FileNotFoundError:  # taken away since it was listed
                continue

    def changed(self, key: str) -> float:
        return self.local(key).stat().st_mtime

    def leftovers(self, prefix: str) -> list[str]:
        found = self.local(prefix).rglob(f"{PARTIAL_PREFIX}*")
        return [str(path.relative_to(self._folder)) for path in found]

    def remove(self, key: str) -> None:
        target = self.local(key)
        if target.is_dir():
            going = target
            if not target.name.startswith(PARTIAL_PREFIX):
                # By a temporary name, so that a kill leaves no folder that is half there.
                going = target.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
                target.rename(going)
            shutil.rmtree(going)
        else:
            target.unlink(missing_ok=True)

    def check(self) -> None:
        """Try what atomic writes rest on: a rename, and a link that fails where a name is taken.

        Raises:
            OSError: If the folder cannot do it.
        """
        scratch = f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            self.write(f"{scratch}/renamed", b"")
            if not self.create(f"{scratch}/linked", b"") or self.create(f"{scratch}/linked", b""):
                raise OSError(f"{self.root} does not take hard links as a local disk does")
        finally:
            shutil.rmtree(self.local(scratch), ignore_errors=True)


def _flush(path: Path) -> None:
    """Push a file or a folder's entries to the disk, so that a power cut keeps the order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
