"""The two ways in which requests arrive: after an answer, or at a constant rate."""

import math
import threading
import time
from time import perf_counter
from typing import Final

from mlops_assets.load.measured import Measured
from mlops_assets.load.run import Run
from mlops_assets.load.target import Target

# A closed loop does not hammer a server that refuses connections.
_RECONNECT_SECONDS: Final = 0.1
_LONGEST_SLEEP_SECONDS: Final = 0.1


class ClosedRun(Run):
    """A fixed number of requests is on its way at any time."""

    def __init__(
        self,
        target: Target,
        measured: Measured,
        connections: int,
        timeout: float,
        warm_up: float,
        seconds: float,
        requests: float,
    ) -> None:
        """Prepare a run.

        Args:
            target: See `Run`.
            measured: See `Run`.
            connections: How many requests are on their way.
            timeout: See `Run`.
            warm_up: Seconds before the first request that counts.
            seconds: How long requests are sent after that.
            requests: The most that are sent.
        """
        super().__init__(target, measured, connections, timeout)
        self._warm_up = warm_up
        self._seconds = seconds
        self._left = requests
        self._delayed = 0
        self._from = self._until = math.inf

    def _start(self, now: float) -> None:
        self._from = now + self._warm_up
        self._until = self._from + self._seconds
        for _ in range(int(min(self._most, self._left))):
            self._next(now)

    def _stop(self) -> None:
        self._until = -math.inf

    def _next(self, now: float) -> None:
        if now < self._until and self._left > 0:
            self._left -= 1
            self._arrive(now, counts=now >= self._from)

    def _follow(self, now: float, after_failure: bool) -> None:
        if after_failure:
            self._delayed += 1
            self._loop.call_later(_RECONNECT_SECONDS, self._next_after_delay)
        else:
            self._next(now)

    def _next_after_delay(self) -> None:
        self._delayed -= 1
        self._next(perf_counter())
        self._end_if_done()

    def _expects_more(self) -> bool:
        return self._delayed > 0


class OpenRun(Run):
    """Requests arrive at a constant rate.

    A thread keeps the time: an event loop's timers are exact to a millisecond only, which is as
    long as an answer takes, and a loop that polled the clock would take a core from the server.
    """

    def __init__(
        self,
        target: Target,
        measured: Measured,
        connections: int,
        timeout: float,
        warm_up: float,
        seconds: float,
        rate: float,
    ) -> None:
        """Prepare a run.

        Args:
            target: See `Run`.
            measured: See `Run`.
            connections: The most there may be.
            timeout: See `Run`.
            warm_up: Seconds before the first request that counts.
            seconds: How long requests are sent after that.
            rate: Requests a second.
        """
        super().__init__(target, measured, connections, timeout)
        self._rate = rate
        self._first = round(warm_up * rate)
        self._requests = self._first + max(1, round(seconds * rate))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._pace, name="pace", daemon=True)
        self._started = math.inf

    def _start(self, now: float) -> None:
        self._started = now
        self._thread.start()

    def _stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _pace(self) -> None:
        for number in range(self._requests):
            due = self._started + number / self._rate
            # Not `Event.wait`, which is no more exact than the loop's timers.
            while (ahead := due - perf_counter()) > 0 and not self._stopped.is_set():
                time.sleep(min(ahead, _LONGEST_SLEEP_SECONDS))
            if self._stopped.is_set():
                return
            self._loop.call_soon_threadsafe(self._arrive, due, number >= self._first)

    def _follow(self, now: float, after_failure: bool) -> None:
        """Nothing follows: the rate is constant."""

    def _expects_more(self) -> bool:
        return self._arrived < self._requests
