"""A lane: the queue and the thread of one bundle.

Rows that arrive while a batch is computed make the next batch, so batches grow with the load and a
lone row waits for nobody. A bundle has a lane of its own, because a slow or broken one must not
hold up another's answers.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle.contract import Row
from serving.bundle.loaded import Bundle

#: A batch is not made larger than this; one request may still be.
MOST_ROWS: Final = 256

#: Told of each batch: its rows, and the seconds in the queue (the longest), for features and model.
Observer = Callable[[int, float, float, float], None]


class BusyError(Exception):
    """The queue is full."""


class LateError(Exception):
    """The time to answer was over before the rows were computed."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a bundle made of the rows of one request.

    Attributes:
        probabilities: Of the positive class, float64 ``[rows]``.
        features: float32 ``[rows, features]``.
    """

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Job:
    rows: Sequence[Row]
    future: "asyncio.Future[Scored]"
    submitted: float
    deadline: float


class Lane:
    """Computes rows by one bundle. Ends by itself when nobody refers to it any more.

    Attributes:
        waiting: Rows that are in the queue or being computed.
    """

    def __init__(self, bundle: Bundle, most_waiting: int, observe: Observer) -> None:
        """Start the thread.

        Args:
            bundle: What computes.
            most_waiting: Rows that may wait.
            observe: Told of every batch, in the lane's thread.
        """
        self.waiting = 0
        self._most_waiting = most_waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # The thread knows the queue and not the lane: else the lane would never be forgotten.
        worker = threading.Thread(
            target=_work, args=(self._jobs, bundle, observe), name="lane", daemon=True
        )
        worker.start()
        weakref.finalize(self, self._jobs.put, None)

    def submit(self, rows: Sequence[Row], seconds: float) -> "asyncio.Future[Scored]":
        """Put the rows of one request into the queue. Only from an event loop.

        Args:
            rows: Validated rows, at least one.
            seconds: After which nobody waits for the answer any more.

        Returns:
            To be awaited; raises `LateError`, or what `Bundle.score` raises.

        Raises:
            BusyError: The queue is full.
        """
        count = len(rows)
        if self.waiting and self.waiting + count > self._most_waiting:
            raise BusyError(f"{self.waiting} rows are waiting")
        now = perf_counter()
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self.waiting += count
        future.add_done_callback(lambda done: self._left(done, count))
        self._jobs.put(_Job(rows, future, now, now + seconds))
        return future

    def _left(self, done: "asyncio.Future[Scored]", count: int) -> None:
        self.waiting -= count
        # Looked at, for asyncio would report an error that nobody waited for.
        _ = done.cancelled() or done.exception()


_Outcome = tuple[_Job, Scored | Exception]


def _work(jobs: "SimpleQueue[_Job | None]", bundle: Bundle, observe: Observer) -> None:
    # A function for each batch: what it had in its hands would be kept until the next one comes,
    # and an error's trace leads to the lane, which then would never be forgotten.
    while _take(jobs.get(), jobs, bundle, observe):
        pass


def _take(
    first: _Job | None, jobs: "SimpleQueue[_Job | None]", bundle: Bundle, observe: Observer
) -> bool:
    """Compute a batch of what waits; False if nothing more will come."""
    if first is None:
        return False
    batch, rows, more = [first], len(first.rows), True
    while more and rows < MOST_ROWS:
        try:
            job = jobs.get_nowait()
        except Empty:
            break
        if job is None:
            more = False
        else:
            batch.append(job)
            rows += len(job.rows)
    now = perf_counter()
    outcomes: list[_Outcome] = [(job, LateError()) for job in batch if job.deadline < now]
    in_time = [job for job in batch if job.deadline >= now]
    if in_time:
        outcomes += _compute(in_time, bundle, observe, now - in_time[0].submitted)
    _deliver(outcomes)
    return more


def _compute(jobs: list[_Job], bundle: Bundle, observe: Observer, queued: float) -> list[_Outcome]:
    rows = [row for job in jobs for row in job.rows]
    start = perf_counter()
    try:
        features = bundle.features(rows)
        computed = perf_counter()
        probabilities = bundle.probabilities(features)
    except Exception as error:
        if len(jobs) == 1:
            return [(jobs[0], error)]
        # Somebody else's row must not fail mine.
        return [each for job in jobs for each in _compute([job], bundle, observe, queued)]
    observe(len(rows), queued, computed - start, perf_counter() - computed)
    outcomes: list[_Outcome] = []
    first = 0
    for job in jobs:
        last = first + len(job.rows)
        outcomes.append((job, Scored(probabilities[first:last], features[first:last])))
        first = last
    return outcomes


def _deliver(outcomes: list[_Outcome]) -> None:
    # One wake-up of the loop for all of them. All jobs of a lane are of one loop.
    loop = outcomes[0][0].future.get_loop()
    try:
        loop.call_soon_threadsafe(_settle, outcomes)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        return


def _settle(outcomes: list[_Outcome]) -> None:
    for job, outcome in outcomes:
        if job.future.done():
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
