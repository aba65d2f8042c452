"""A prefix of an S3 bucket as the place of a storage.

A PUT replaces an object as a whole, and one with ``If-None-Match: *`` fails where the name is
taken. What needs a local file gets a copy from a cache, which is named by what the store says of
the object now; a copy that nobody used for a day goes when another one is made.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from mlops_assets.home import cache_folder
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.storage.local_place import PARTIAL_PREFIX
from serving.storage.bucket import Object, StoreError, bucket

# A run that meets a store that is busy or away waits for it for so long.
PATIENCE_SECONDS = 60.0
UNUSED_SECONDS = 86_400.0
# On an object that was created: who did it.
WRITER = "writer"
_able: set[str] = set()


class S3Place:
    """Objects under one prefix. Keys are those of the objects, behind the prefix."""

    def __init__(self, url: str) -> None:
        self._bucket = bucket(url, PATIENCE_SECONDS)
        self._cache = cache_folder()
        self.root = self._bucket.url

    def uri(self, key: str) -> str:
        return f"{self.root}/{key}"

    def exists(self, key: str) -> bool:
        return self._bucket.look(key) is not None or bool(self.names(key))

    def read(self, key: str) -> bytes | None:
        try:
            return self._bucket.read(key)
        except FileNotFoundError:
            return None

    def open(self, key: str) -> BytesIO:
        return BytesIO(self._bucket.read(key))

    def write(self, key: str, content: bytes) -> None:
        self._bucket.put(key, content)

    def create(self, key: str, content: bytes) -> bool:
        if self.root not in _able:
            self.check()
        return self._create(key, content)

    def add(self, folder: str, name: str, content: bytes) -> None:
        self._bucket.put(f"{folder}/{name}", content)

    def _create(self, key: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        writer = uuid.uuid4().hex
        try:
            with self._bucket.explained(key):
                self._bucket.store.put(key, content, mode="create", attributes={WRITER: writer})
        except AlreadyExistsError:
            # By ourselves, where the answer to an earlier attempt was lost and the client tried
            # again: nobody else knows this name.
            with self._bucket.explained(key):
                return self._bucket.store.get(key).attributes.get(WRITER) == writer
        return True

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A folder becomes several objects: readers go by a pointer, which is written after it."""
        self._cache.mkdir(parents=True, exist_ok=True)
        scratch = self._cache / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        scratch.mkdir()
        partial = scratch / key.rsplit("/", 1)[-1]
        try:
            yield partial
            if partial.is_dir():
                if self._bucket.look(key) is not None:
                    raise NotADirectoryError(f"{self.uri(key)} is an object, and no folder")
                there = {found.key for found in self._bucket.list(key)}
                # What is there is kept, and what a killed process did not get to is added.
                for path in sorted(p for p in partial.rglob("*") if p.is_file()):
                    name = f"{key}/{path.relative_to(partial).as_posix()}"
                    if name not in there:
                        self._bucket.put(name, path)
            else:
                size, stamp = partial.stat().st_size, self._bucket.put(key, partial)
                # Whoever made a file reads it next.
                self._keep(scratch, self._entry(key, {key: (size, stamp)}))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def local(self, key: str) -> Path:
        found = self._bucket.look(key)
        objects = self._bucket.list(key) if found is None else [found]
        if not objects:
            raise FileNotFoundError(f"there is nothing at {self.uri(key)}")
        entry = self._entry(key, {each.key: (each.size, each.stamp) for each in objects})
        target = entry / key.rsplit("/", 1)[-1]
        paths = {each: target / each.key[len(key) :].lstrip("/") for each in objects}
        # A power cut may have left a file without its content.
        if not all(path.is_file() and path.stat().st_size == o.size for o, path in paths.items()):
            shutil.rmtree(entry, ignore_errors=True)
            scratch = self._cache / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
            try:
                for each, path in paths.items():
                    partial = scratch / path.relative_to(entry)
                    partial.parent.mkdir(parents=True, exist_ok=True)
                    self._bucket.download(each, partial)
                self._keep(scratch, entry)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.utime(entry)
        return target

    def _entry(self, key: str, objects: Mapping[str, tuple[int, str]]) -> Path:
        return self._cache / digest_of([self.root, key, objects])[:32]

    def _keep(self, scratch: Path, entry: Path) -> None:
        """Put a finished folder into the cache, and take out what nobody used for a day."""
        try:
            scratch.rename(entry)
        except OSError:  # another process was quicker
            if not entry.is_dir():
                raise
        for old in self._cache.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - old.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)

    def names(self, prefix: str) -> list[str]:
        # Not by a delimiter: some stores go on naming a folder whose objects are gone.
        start = len(prefix) + 1 if prefix else 0
        return list({each.key[start:].split("/", 1)[0] for each in self._bucket.list(prefix)})

    def files(self, prefix: str) -> list[Object]:
        under = self._bucket.list(prefix)
        itself = None if under else self._bucket.look(prefix)
        return under if itself is None else [itself]

    def changed(self, key: str) -> float:
        return max((each.changed for each in self.files(key)), default=0.0)

    def leftovers(self, prefix: str) -> list[str]:
        """None: an upload that was killed is no object."""
        del prefix
        return []

    def remove(self, key: str) -> None:
        found = self.files(key)
        with self._bucket.explained(key):
            self._bucket.store.delete([each.key for each in found])
        # Nor is a copy left here: it may be removed because of what it holds.
        objects = {each.key: (each.size, each.stamp) for each in found}
        shutil.rmtree(self._entry(key, objects), ignore_errors=True)
        for name, state in objects.items():
            shutil.rmtree(self._entry(name, {name: state}), ignore_errors=True)

    def check(self) -> None:
        """Make sure, once a process, that the store refuses to create what is there.

        Raises:
            StoreError: If it does not: two writers could then take one place in the ledger.
        """
        probe = f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            if not self._create(probe, b"") or self._create(probe, b""):
                raise StoreError(
                    f"{self.root}: the store overwrites what it is asked to create only if it is "
                    "not there (If-None-Match), so the ledger would not be safe: use a store that "
                    "knows conditional writes"
                )
        finally:
            self.remove(probe)
        _able.add(self.root)
