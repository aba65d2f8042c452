"""A segment: a file of records that is written to until it ends, and then becomes Parquet.

Its first line is its head, each other line a record. Only its end can be torn, and is cut off by
whoever takes it over.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from serving.prediction_log.streams import Head

_head = msgspec.json.Decoder(Head)
_record = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Sealed:
    """A segment that nobody writes to any more.

    Attributes:
        path: Where it lies.
        head: Its first line.
        size: Bytes.
        records: How many it holds.
    """

    path: Path
    head: Head
    size: int
    records: int

    @property
    def name(self) -> str:
        """The name of its file, which no other segment has."""
        return f"{self.path.parent.name}-{self.path.stem}"

    @property
    def key(self) -> str:
        """Where its file lies under the storage root; the same at every attempt, by anyone."""
        return self.head.key(self.name)


@dataclass
class Segment:
    """A segment that is written to; by one thread.

    Attributes:
        path: Where it lies.
        head: Its first line, which is still to be written.
        descriptor: Of the file, opened to append.
        since: When it was started, by `time.monotonic`.
        size: Bytes that are written.
        records: How many it holds.
        dirty: Whether some are not on the disk yet.
    """

    path: Path
    head: Head
    descriptor: int
    since: float = field(default_factory=time.monotonic)
    size: int = 0
    records: int = 0
    dirty: bool = False

    def write(self, content: bytes, records: int) -> None:
        """Append all of it, or nothing.

        Raises:
            OSError: The disk does not take it.
        """
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(content)
        self.records += records
        self.dirty = True

    def sync(self) -> None:
        """Push it to the disk."""
        if self.dirty:
            os.fsync(self.descriptor)
            self.dirty = False

    def seal(self) -> Sealed:
        """Push it to the disk and end it."""
        self.sync()
        os.close(self.descriptor)
        return Sealed(self.path, self.head, self.size, self.records)


def recover(path: Path) -> Sealed | None:
    """Read a segment whose writer is gone up to the first line that is not whole, and cut there.

    After a power cut the last second may be missing, or be zeros, anywhere in it.
    """
    with path.open("rb") as file:
        line = file.readline()
        try:
            head = _head.decode(line)
        except msgspec.DecodeError:
            return None
        good, records = len(line), 0
        for line in file:
            try:
                _record.decode(line)
            except msgspec.DecodeError:
                break
            if not line.endswith(b"\n"):
                break
            good, records = good + len(line), records + 1
    if not records:
        return None
    if good < path.stat().st_size:
        os.truncate(path, good)
    return Sealed(path, head, good, records)
