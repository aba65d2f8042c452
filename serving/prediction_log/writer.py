"""Brings records from the queue into segments: ten times a second, on the disk twice a second."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Final, NamedTuple

from serving.prediction_log.entries import CHUNK, Entry, Item, encode
from serving.prediction_log.problems import Problems
from serving.prediction_log.queue import Queue
from serving.prediction_log.segments import Sealed
from serving.prediction_log.spool import Spool
from serving.prediction_log.streams import Stream

_WRITE_SECONDS: Final = 0.1
_SYNC_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 2.0
# Written in one go. More would need more room on the disk at once, less more calls.
_BLOCK_BYTES: Final = 1 << 20
_SEGMENT_BYTES: Final = 64 << 20
_DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()


class Limits(NamedTuple):
    """When a segment ends, and how much may wait.

    Attributes:
        seconds: The age at which a segment ends.
        records: With so many it ends as well.
        spool: Bytes that all segments may take together.
    """

    seconds: float
    records: int
    spool: int


class _FullSpoolError(OSError):
    """The spool has reached its limit."""


class _Block(NamedTuple):
    """Encoded records of one stream and day."""

    stream: Stream
    day: str
    content: bytes
    records: int


class Writer:
    """The thread that writes. Whatever fails is tried again, and nobody waits for it.

    Attributes:
        sealed: Segments that have ended, for whoever takes them from the left.
        thread: To be joined by whoever stops it.
    """

    def __init__(self, queue: Queue, spool: Spool, limits: Limits, problems: Problems) -> None:
        """Start nothing yet."""
        self._queue, self._spool, self._limits = queue, spool, limits
        self._problems = problems
        self._blocks: deque[_Block] = deque()
        # Of the entries that the blocks were made of: room in the queue once all are written.
        self._taken = (0, 0)
        self._synced = time.monotonic()
        self._deadline: float | None = None
        self._wake = threading.Event()
        self.sealed: deque[Sealed] = deque()
        # A daemon: a disk that does not answer must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def stop(self, deadline: float) -> None:
        """Write what is there, end every segment, and end; by a time of `time.monotonic`."""
        self._deadline = deadline
        self._wake.set()

    def _run(self) -> None:
        pause = _WRITE_SECONDS
        while True:
            deadline = self._deadline
            problem: Exception | None = None
            # Both in any case: when no more can be written, what is written can still be stored.
            for step in (self._write, self._end):
                try:
                    step()
                except Exception as error:
                    problem = problem or error
            if problem is None:
                self._problems.tell("spool", None)
                self._queue.blocked, pause = None, _WRITE_SECONDS
            else:
                self._problems.failed("spool", problem)
                self._queue.blocked = "spool" if isinstance(problem, _FullSpoolError) else "disk"
                pause = min(2 * pause, _LONGEST_RETRY_SECONDS)
            if deadline is not None:
                if problem is None:
                    return
                if time.monotonic() >= deadline:
                    self._queue.drop(self._queue.records, "stopped")
                    return
                time.sleep(_WRITE_SECONDS)
            else:
                self._wake.wait(pause)

    def _write(self) -> None:
        self._spool.open()
        if not self._blocks:
            entries = self._queue.take()
            self._taken = sum(e.records for e in entries), sum(e.weight for e in entries)
            self._encode(entries)
        while self._blocks:
            block = self._blocks[0]
            waiting = self._spool.size + sum(each.size for each in tuple(self.sealed))
            # An empty spool takes any block, or one that is larger would wait for ever.
            if waiting and waiting + len(block.content) > self._limits.spool:
                raise _FullSpoolError(
                    f"The spool has reached its limit, {self._limits.spool} bytes"
                )
            self._spool.write(block.stream, block.day, block.content, block.records)
            self._blocks.popleft()
        self._queue.done(*self._taken)
        self._taken = 0, 0

    def _encode(self, entries: Sequence[Entry]) -> None:
        self._problems.tell("entries", None)
        groups: dict[tuple[int, int], list[Entry]] = {}
        for entry in entries:
            key = id(entry.stream), int(entry.time // _DAY_SECONDS)
            groups.setdefault(key, []).append(entry)
        for (_, number), group in groups.items():
            day = date.fromordinal(_EPOCH + number).isoformat()
            self._blocks.extend(self._blocks_of(group, day))

    def _blocks_of(self, entries: Sequence[Entry], day: str) -> Iterator[_Block]:
        parts: list[bytes] = []
        size = records = 0
        items = self._items_of(entries)
        while chunk := list(islice(items, CHUNK)):
            lines = encode(chunk)
            for reason, count in lines.refused.items():
                self._queue.drop(count, reason)
            parts.append(lines.content)
            size, records = size + len(lines.content), records + lines.records
            if size >= _BLOCK_BYTES:
                yield _Block(entries[0].stream, day, b"".join(parts), records)
                parts, size, records = [], 0, 0
            # Let the threads that answer run now, and not in 5 ms, when they may insist.
            time.sleep(0)
        if records:
            yield _Block(entries[0].stream, day, b"".join(parts), records)

    def _items_of(self, entries: Sequence[Entry]) -> Iterator[Item]:
        for entry in entries:
            given = 0
            try:
                for given, item in enumerate(entry.items(), 1):  # noqa: B007 (read below)
                    yield item
            except Exception as error:
                # Its parts do not fit together. Others are not to suffer from that.
                self._queue.drop(entry.records - given, "value")
                self._problems.failed("entries", error)

    def _end(self) -> None:
        stopping = self._deadline is not None
        if stopping or time.monotonic() - self._synced >= _SYNC_SECONDS:
            self._synced = time.monotonic()
            self._spool.sync()
        limits = self._limits
        seconds = 0.0 if stopping else limits.seconds
        for sealed in self._spool.seal(seconds, limits.records, _SEGMENT_BYTES):
            self.sealed.append(sealed)
