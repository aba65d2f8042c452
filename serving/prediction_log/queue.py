"""Records in memory, between the thread that answers and the one that writes.

Bounded by records and by bytes. What finds no room is dropped and counted, by the reason for which
there is none: that nothing can be written is known here, why is told by the writer.
"""

import threading
from collections import Counter
from typing import Final

from serving.prediction_log.entries import Entry

# From here on the queue is called full: whoever asks before he answers leaves room for the answers
# that are on their way.
_NEARLY: Final = 0.8


class Queue:
    """A queue of entries, for any number of threads that put and one that takes.

    Attributes:
        records: How many are in it, those that were taken and are not written included.
        dropped: How many found no room, by reason.
        blocked: Why nothing is written at present, or None.
    """

    def __init__(self, records: int, size: int) -> None:
        """Make an empty queue.

        Args:
            records: The most that it holds.
            size: The most bytes that they take, roughly.
        """
        self._most_records, self._most_bytes = records, size
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._bytes = 0
        self._since: float | None = None
        self._closed = False
        self.records = 0
        self.dropped: Counter[str] = Counter()
        self.blocked: str | None = None

    def put(self, entry: Entry, count: int, weight: int, limit: float = 1.0) -> None:
        """Add an entry, or count it as dropped.

        Args:
            entry: It is kept as it is.
            count: How many records it stands for.
            weight: How many bytes they take, roughly.
            limit: The share of the queue that this kind of entry may fill, above 0 to 1.
        """
        with self._lock:
            records, size = self.records + count, self._bytes + weight
            if self._closed:
                self.dropped["stopped"] += count
            elif records > self._most_records * limit or size > self._most_bytes * limit:
                self.dropped[self.blocked or "queue"] += count
            else:
                self._entries.append(entry)
                self.records, self._bytes = records, size

    def take(self) -> list[Entry]:
        """Take what is there. It counts as in the queue until `done`."""
        with self._lock:
            taken, self._entries = self._entries, []
            self._since = taken[0].time if taken else None
        return taken

    def done(self, records: int, size: int) -> None:
        """Make room: entries that were taken are written."""
        with self._lock:
            self.records -= records
            self._bytes -= size

    def drop(self, records: int, reason: str) -> None:
        """Count records that were lost after they were put."""
        with self._lock:
            self.dropped[reason] += records

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            self._closed = True

    @property
    def full(self) -> bool:
        """Whether there is little room left, or none."""
        records, size = self._most_records * _NEARLY, self._most_bytes * _NEARLY
        return self.records > records or self._bytes > size

    @property
    def oldest(self) -> float | None:
        """The time of the oldest record, in seconds since the epoch."""
        with self._lock:
            if self.records == 0:
                return None
            first = self._entries[0].time if self._entries else None
            return first if self._since is None else self._since
