"""Ends queries that take too long.

Feature SQL comes with a bundle, and a row with a client. Together they must not keep a thread for
as long as they like: DuckDB has no limit of time, but a query can be interrupted from outside.
"""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

import duckdb

_LOOK_SECONDS: Final = 0.1


class Deadlines:
    """One thread that looks after every query of the process."""

    def __init__(self) -> None:
        """Start nothing before the first query."""
        self._running: dict[duckdb.DuckDBPyConnection, float] = {}
        self._lock = threading.Lock()
        self._looking = False
        self._ended = threading.Event()

    @contextmanager
    def of(self, cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
        """Interrupt the query that a cursor runs in this block if it is still at it by then.

        Raises:
            duckdb.InterruptException: From the query, at most a tenth of a second late.
        """
        if not self._looking:
            self._start()
        self._running[cursor] = monotonic() + seconds
        try:
            yield
        finally:
            del self._running[cursor]

    def _start(self) -> None:
        with self._lock:
            if not self._looking:
                thread = threading.Thread(target=self._look, name="deadlines", daemon=True)
                thread.start()
                atexit.register(self._end, thread)
                self._looking = True

    def _end(self, thread: threading.Thread) -> None:
        # A thread that is left keeps DuckDB's types, which complain when the interpreter is gone.
        self._ended.set()
        thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            now = monotonic()
            for cursor, deadline in list(self._running.items()):
                # It may have ended just now: an interrupt without a query does nothing.
                if now > deadline:
                    cursor.interrupt()
