"""`POST /explain`: how much each feature moved an answer away from the usual one.

An explanation asks the model thousands of times what one answer asks it once. So it has a thread of
its own, never a lane's, which comes after all others where processors are scarce, and few may wait
for it.
"""

import asyncio
import os
import sys
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle.contract import Row
from serving.bundle.contributions import contributions
from serving.bundle.loaded import Bundle
from serving.roles.follower import Served
from serving.roles.lane import BusyError
from serving.roles.use_case import read_rows

#: Rows that one request may hold, each a matter of milliseconds.
MOST_ROWS: Final = 10
# Points that the model is asked for at once: where they were thousands, others waited for a
# processor until all of them were done.
_POINTS_AT_ONCE: Final = 256
# Of 19; the higher, the later a thread's turn comes.
_NICENESS: Final = 10
# Requests that may be waiting or at work: somebody who waits longer than for these asks again.
_MOST_WAITING: Final = 8


class NoBackgroundError(LookupError):
    """A bundle has no usual rows to compare an answer with."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one row.

    Attributes:
        base: Mean probability of the background.
        probability: Of the row.
        features: float32 `[features]`, NaN where one is null.
        contributions: float64 `[features]`; they add up to `probability - base`.
    """

    base: float
    probability: float
    features: NDArray[np.float32]
    contributions: NDArray[np.float64]


def explain(
    bundle: Bundle, rows: Sequence[Row], background: int | None = None
) -> list[Explanation]:
    """Explain what a bundle answers to rows. The same row gets the same explanation every time.

    Args:
        bundle: What answers.
        rows: Validated rows, at least one.
        background: How many rows of the background to use; all without it.

    Raises:
        NoBackgroundError: The bundle has no background.
        FeatureError: The feature SQL cannot compute a row.
    """
    usual = bundle.background[:background]
    if not len(usual):
        raise NoBackgroundError

    def by_parts(points: NDArray[np.float32]) -> NDArray[np.float64]:
        parts = range(0, len(points), _POINTS_AT_ONCE)
        return np.concatenate(
            [bundle.probabilities(points[at : at + _POINTS_AT_ONCE]) for at in parts]
        )

    features = bundle.features(rows)
    base = float(bundle.probabilities(usual).mean())
    explanations = []
    for values, probability in zip(features, bundle.probabilities(features).tolist(), strict=True):
        # Seeded by the row: repeatable, and without one draw's error in every row.
        seed = zlib.crc32(values.tobytes())
        (found,) = contributions(by_parts, values[None], usual, seed)
        explanations.append(Explanation(base, probability, values, found))
    return explanations


def described(served: Served, found: Explanation) -> dict[str, Any]:
    """An explanation as it is answered: the features that moved the answer most come first."""
    bundle = served.bundle
    outcome = bundle.classify(found.probability)
    order = np.argsort(-np.abs(found.contributions), kind="stable").tolist()
    return {
        "use_case": bundle.manifest.use_case,
        "version": served.role.version,
        "digest": bundle.digest,
        "role": served.name,
        "base_value": found.base,
        "probability": found.probability,
        "class": outcome.value,
        "label": outcome.label,
        "contributions": [
            {
                "feature": bundle.manifest.features[at],
                "value": _shortest(found.features[at]),
                "contribution": float(found.contributions[at]),
            }
            for at in order
        ],
    }


def _shortest(value: np.float32) -> float | None:
    # The shortest number that is this float32: 2.3 and not 2.299999952316284.
    return None if np.isnan(value) else float(str(value))


class Explainer:
    """Explains one request after the other, in a thread."""

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "explain", initializer=_let_others_first)

    async def explain(self, served: Served, payloads: Sequence[object]) -> list[dict[str, Any]]:
        """Explain the answers to the rows of one request.

        Args:
            served: Who answers them.
            payloads: What the request holds for each row, at least one.

        Raises:
            BusyError: Too many requests are waiting.
            NoBackgroundError: The bundle has no background.
            RowError: A row breaks the contract.
            FeatureError: The feature SQL cannot compute a row.
        """
        rows = read_rows(served, payloads)
        if self._waiting >= _MOST_WAITING:
            raise BusyError(f"{self._waiting} explanations are waiting")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, explain, served.bundle, rows)
        finally:
            self._waiting -= 1
        return [described(served, each) for each in found]

    def stop(self) -> None:
        """Finish nothing that has not begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _let_others_first() -> None:
    # On Linux a thread has a niceness of its own; elsewhere it would be that of the whole process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
