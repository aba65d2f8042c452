"""What every source works with: its secrets, its memory, and the way into the landing place."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.records.batches import batch_key
from mlops_assets.lib.storage.root import Storage


class SourceError(ValueError):
    """A source could not be fetched; the message says why and never shows a secret."""


class Place(Protocol):
    """Where files are handed over: the batches of a use case, or the labels of one source."""

    storage: Storage
    use_case: str
    landing: str

    def has_landed(self, name: str, content: str) -> bool:
        """Whether a file of this name and of a content's digest was handed over before."""

    def land(self, file: Path, name: str | None = None) -> str:
        """Hand a file over; gives the key under which it lies."""


@dataclass(frozen=True)
class Landed:
    """A file that a source has handed over.

    Attributes:
        key: Of the batch that it becomes.
        name: Under which it landed.
        size: Bytes.
        new: False if it had landed before.
    """

    key: str
    name: str
    size: int
    new: bool


@dataclass
class Fetched:
    """What a fetch has done.

    Attributes:
        landed: What was handed over, in its order.
        about: Facts for a person: rows, ETag, watermark.
        problems: What could not be fetched although the rest was.
        unit: What a file becomes, one and several.
    """

    landed: list[Landed] = field(default_factory=list)
    about: dict[str, str | int | float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unit: tuple[str, str] = ("batch", "batches")

    @property
    def new(self) -> list[Landed]:
        """What had not landed before."""
        return [landed for landed in self.landed if landed.new]

    def __str__(self) -> str:
        new = self.new
        size = sum(landed.size for landed in new)
        said = f"{len(new)} new {self.unit[len(new) != 1]}, {size} bytes" if new else "nothing new"
        return "; ".join([said, *self.problems])


class Inbox:
    """The landing place, as one source sees it."""

    def __init__(self, batches: Place, source: str, environment: Mapping[str, str]) -> None:
        self.batches = batches
        self.source = source
        self._environment = environment
        self._secrets: set[str] = set()
        self._key = f"{batches.use_case}/sources/{source}.json"

    def secret(self, variable: str) -> str:
        """The value of an environment variable, which no message will show from now on.

        Raises:
            SourceError: If it is not set, or empty.
        """
        value = self._environment.get(variable, "").strip()
        if not value:
            raise SourceError(f"the environment variable {variable} is not set")
        self.hide(value)
        return value

    def hide(self, value: str) -> None:
        """Never show a value that was derived from a secret."""
        self._secrets |= {value, quote(value, safe="")}

    def redacted(self, text: object) -> str:
        """A text without the secrets: what a library says may repeat them."""
        said = str(text)
        for secret in sorted(self._secrets, key=len, reverse=True):
            said = said.replace(secret, "***")
        return said

    @property
    def state(self) -> dict[str, Any]:
        """What the last fetch has remembered."""
        return self.batches.storage.read_json(self._key) or {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Remember how far the source has come. A kill leaves the old state or the new one."""
        self.batches.storage.write_json(self._key, state)

    def land(self, file: Path, name: str) -> Landed:
        """Hand a file over; the same content under the same name is nothing new."""
        content = file_digest(file)
        new = not self.batches.has_landed(name, content)
        if new:
            self.batches.land(file, name)
        return Landed(batch_key(name, content), name, file.stat().st_size, new)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second fetch of the same source away: both would land the same rows.

        The lock goes with its process. It holds on one machine; in a cluster the runs of a use
        case's sources wait for each other.

        Raises:
            SourceError: If a fetch is at work.
        """
        place = short(digest_of([self.batches.storage.uri(self.batches.landing), self.source]))
        name = f"mlops-source-{os.getuid()}-{place}.lock"
        with (Path(tempfile.gettempdir()) / name).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SourceError(f"another fetch of {self.source} is at work") from None
            yield
