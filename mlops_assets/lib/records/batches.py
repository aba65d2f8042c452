"""Batches: landed files, their keys, and the pointers that say how far each has come.

The landing place is a folder of files. What was seen there is written down in a receipt before
anything else happens, so that a batch is known from then on, whatever is killed.
"""

import os
import re
import shutil
import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.storage.root import Storage
from serving.storage.bucket import Object

SLUG_LENGTH = 40
# A file that changed this recently may still be written by somebody.
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Receipt:
    """What landed.

    Attributes:
        key: Partition key: ``<slug of the name>-<12 hex of the digest of name and content>``.
        name: The file's own name.
        path: Where it lies.
        content: Digest of its bytes.
        digest: Digest of name and content; the subject of the checks of ``raw``.
        size: Bytes.
        landed_at: When it was first seen, UTC, ISO 8601.
    """

    key: str
    name: str
    path: str
    content: str
    digest: str
    size: int
    landed_at: str


def batch_digest(name: str, content: str) -> str:
    """Digest of a batch's name and of its content's digest."""
    return digest_of([name, content])


def batch_key(name: str, content: str) -> str:
    """A partition key that is safe everywhere and says where the batch comes from."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.rsplit(".", 1)[0].lower()).strip("-")
    return f"{slug[:SLUG_LENGTH].strip('-') or 'batch'}-{short(batch_digest(name, content))}"


class Batches:
    """The batches of one use case: landing place, receipts and pointers."""

    def __init__(self, storage: Storage, use_case: str) -> None:
        self.storage = storage
        self.use_case = use_case
        self.landing = f"{use_case}/landing"

    def land(self, file: Path, name: str | None = None) -> str:
        """Hand a file over: a reader sees all of it or nothing.

        Each content has a folder of its own, so that a new file under a used name replaces nothing.

        Returns:
            The key under which it lies.

        Raises:
            FileNotFoundError: If there is no such file.
            IsADirectoryError: If it is a folder.
            ValueError: If the name is hidden, which ``look`` leaves alone, or names a folder.
        """
        name = name or file.name
        if name.startswith(".") or "/" in name:
            raise ValueError(f"{name!r}: a landed file has a name of its own, and not a hidden one")
        content = file_digest(file)
        target = f"{self.landing}/{short(content)}/{name}"
        if not self.storage.exists(target):
            with self.storage.writing(target) as partial:
                shutil.copyfile(file, partial)
                os.utime(partial, (0, 0))  # whole from the start: nothing to wait for
        return target

    def has_landed(self, name: str, content: str) -> bool:
        """Whether a file of this name and of a content's digest was handed over before."""
        return self.receipt(batch_key(name, content)) is not None or self.storage.exists(
            f"{self.landing}/{short(content)}/{name}"
        )

    def look(self, now: float) -> None:
        """Look through the landing place and write a receipt for each new file.

        Hidden files and files changed within the last two seconds are left for a later look.

        Args:
            now: The time, in seconds since the epoch.
        """
        for file in self.storage.files(self.landing):
            path = PurePosixPath(file.key)
            hidden = any(part.startswith(".") for part in path.relative_to(self.landing).parts)
            if hidden or 0 <= now - file.changed < SETTLE_SECONDS:
                continue
            try:
                content = _content(self.storage.root, file)
            except FileNotFoundError:  # taken away since it was listed
                continue
            readable = os.fsencode(path).decode("utf-8", "replace")
            if readable != str(path):
                # A name that is not UTF-8 fits in no record: a copy of a readable name lands.
                self.land(self.storage.local(file.key), PurePosixPath(readable).name)
                continue
            self._write_receipt(path, content, file.size, now)

    def _write_receipt(self, path: PurePosixPath, content: str, size: int, now: float) -> None:
        key = batch_key(path.name, content)
        if self.storage.exists(self._key(key, "receipt")):
            return
        receipt = Receipt(
            key=key,
            name=path.name,
            path=self.storage.uri(str(path)),
            content=content,
            digest=batch_digest(path.name, content),
            size=size,
            landed_at=datetime.fromtimestamp(now, UTC).isoformat(),
        )
        self.storage.create_json(self._key(key, "receipt"), asdict(receipt))

    def _key(self, batch: str, stage: str) -> str:
        return f"{self.use_case}/batches/{batch}/{stage}.json"

    def keys(self) -> list[str]:
        """Every batch that has a receipt, by key."""
        names = self.storage.list(f"{self.use_case}/batches")
        return [name for name in names if self.storage.exists(self._key(name, "receipt"))]

    def receipt(self, key: str) -> Receipt | None:
        """The receipt of a batch, or None for an unknown one."""
        value = self.storage.read_json(self._key(key, "receipt"))
        return None if value is None else Receipt(**value)

    def landed(self, receipt: Receipt) -> Path | None:
        """The landed file of a batch, as a local path; None where it is gone or has changed."""
        key = self.landed_key(receipt)
        try:
            path = Path(receipt.path) if key is None else self.storage.local(key)
            return path if file_digest(path) == receipt.content else None
        except (FileNotFoundError, IsADirectoryError):
            return None

    def is_there(self, receipt: Receipt) -> bool:
        """Whether something lies where the batch has landed."""
        key = self.landed_key(receipt)
        return Path(receipt.path).is_file() if key is None else self.storage.exists(key)

    def forget(self, receipt: Receipt) -> bool:
        """Remove the landed file of a batch from the landing place; its receipt stays.

        Returns:
            Whether it was there, unchanged, and is gone now.
        """
        key = self.landed_key(receipt)
        if key is None or not self.is_there(receipt) or self.landed(receipt) is None:
            return False
        self.storage.remove(key)
        return True

    def landed_key(self, receipt: Receipt) -> str | None:
        """The key of a landed file; None if it is elsewhere: the storage root was moved since."""
        start = self.storage.uri(self.landing)
        if not receipt.path.startswith(f"{start}/"):
            return None
        return f"{self.landing}{receipt.path.removeprefix(start)}"

    def receipts(self) -> list[Receipt]:
        """Every receipt, first landed first."""
        found = [receipt for key in self.keys() if (receipt := self.receipt(key)) is not None]
        return sorted(found, key=lambda receipt: (receipt.landed_at, receipt.key))

    def pointer(self, key: str, stage: str) -> dict[str, Any] | None:
        """Which object of a stage (``raw``, ``validated``, ``features``) is current."""
        return self.storage.read_json(self._key(key, stage))

    def point(self, key: str, stage: str, value: dict[str, Any]) -> None:
        """Make an object of a stage the current one."""
        self.storage.write_json(self._key(key, stage), value)

    def unpoint(self, key: str, stage: str) -> None:
        """Let no object of a stage be current, since its files are to go."""
        self.storage.remove(self._key(key, stage))


@lru_cache(maxsize=65_536)
def _content(root: str, file: Object) -> str:
    """Digest of a file, computed once for each state of it."""
    return file_digest(Storage(root).local(file.key))
