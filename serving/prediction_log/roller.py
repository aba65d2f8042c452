"""Brings segments into the storage root: one Parquet file of each, and then the segment goes.

A file is named after its segment. Whoever is killed in between, or is asked twice, writes the same
file again, so no record is there twice.
"""

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from serving.prediction_log.problems import Problems
from serving.prediction_log.queue import Queue
from serving.prediction_log.rollup import DamagedError, roll_up
from serving.prediction_log.segments import Sealed
from serving.prediction_log.spool import Spool
from serving.storage.sink import Sink

_LOOK_SECONDS: Final = 0.25
# How often to look for workers that are gone.
_ADOPT_SECONDS: Final = 30.0
_LONGEST_RETRY_SECONDS: Final = 30.0

log = logging.getLogger(__name__)


class Roller:
    """The thread that stores segments.

    Attributes:
        stored: Records whose file is in the storage root.
        thread: To be joined by whoever stops it.
    """

    def __init__(
        self, spool: Spool, sealed: deque[Sealed], sink: Sink, queue: Queue, problems: Problems
    ) -> None:
        """Start nothing yet.

        Args:
            spool: Where segments lie.
            sealed: Those to be stored, the next one first.
            sink: Where their files go.
            queue: Counts records that are lost.
            problems: Told when the storage takes nothing.
        """
        self._spool, self._sealed, self._sink = spool, sealed, sink
        self._queue, self._problems = queue, problems
        self._adopt_at = 0.0
        self._retry_at, self._delay = 0.0, _LOOK_SECONDS
        self._deadline: float | None = None
        self._wake = threading.Event()
        self.stored = 0
        # A daemon: a store that does not answer must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="log-roller", daemon=True)

    def stop(self, deadline: float) -> None:
        """Store what is there, and end; by a time of `time.monotonic`."""
        self._deadline = deadline
        self._wake.set()

    def _run(self) -> None:
        while True:
            deadline = self._deadline
            if deadline is not None or time.monotonic() >= self._retry_at:
                self._try()
            if deadline is None:
                self._wake.wait(_LOOK_SECONDS)
            elif not self._sealed or time.monotonic() >= deadline:
                return
            else:
                time.sleep(_LOOK_SECONDS)

    def _try(self) -> None:
        try:
            self._adopt()
            while self._sealed and not self._is_over():
                self._store(self._sealed[0])
                self._sealed.popleft()
        except Exception as error:
            self._problems.failed("storage", error, self._sealed[0].name if self._sealed else "")
            # Another one next time: this one may be at fault, and not the storage.
            self._sealed.rotate(-1)
            self._retry_at = time.monotonic() + self._delay
            self._delay = min(2 * self._delay, _LONGEST_RETRY_SECONDS)
        else:
            self._problems.tell("storage", None)
            self._delay = _LOOK_SECONDS

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _adopt(self) -> None:
        if not self._spool.is_open or self._deadline is not None:
            return
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + _ADOPT_SECONDS
            found = list(self._spool.adopt())
            self._sealed.extend(found)
            if found:
                records = sum(each.records for each in found)
                fields = {"segments": len(found), "records": records}
                log.info("took over segments of a worker that is gone", extra={"fields": fields})

    def _store(self, sealed: Sealed) -> None:
        try:
            if not sealed.path.exists():
                raise DamagedError(f"{sealed.path}: is gone")
            with self._sink.writing(sealed.key) as path:
                roll_up(sealed.head.stream, sealed.path, path)
        except DamagedError as error:
            self._queue.drop(sealed.records, "damaged")
            with suppress(FileNotFoundError):
                self._spool.set_aside(sealed)
            fields = {"segment": str(error), "records": sealed.records}
            log.error("a segment cannot be read and was set aside", extra={"fields": fields})
        else:
            self._spool.remove(sealed)
            self.stored += sealed.records
