"""Metrics with their intervals: resampling rows against resampling groups of like scores.

``python -m tests.benchmarks.intervals [rows ...]``: seconds of CPU and peak memory of each, and how
far the ends of the intervals lie apart, in widths of the interval, beside the same of two seeds of
rows. Above 100,000 rows 25 and 50 resamples of rows are measured, and the seconds of all follow
from these; the ends are not compared. Target: a million rows within 10 s and 300 MiB.
"""

import sys
import time

import numpy as np

from mlops_assets.lib.evaluation import intervals
from tests.benchmarks.measuring import measured

Ends = dict[str, tuple[float, float]]
MOST_ROWS = 100_000
FEW, MORE = 25, 50


def ends(rows: int, by_group: bool, resamples: int, seed: int = 1) -> tuple[Ends, float]:
    """The interval of each metric on well calibrated scores, and the seconds of CPU."""
    random = np.random.default_rng(1)
    probability = random.beta(1, 6, rows)
    target = (random.random(rows) < probability).astype(np.float64)
    intervals.EXACT_ROWS = 0 if by_group else rows
    intervals.RESAMPLES = resamples
    start = time.process_time()
    found = intervals.with_intervals(target, probability, 0.3, seed=seed)
    seconds = time.process_time() - start
    return {name: (interval.low, interval.high) for name, interval in found.items()}, seconds


def apart(one: Ends, other: Ends) -> str:
    """The metric whose ends differ most, in widths of the interval."""
    gaps = {
        name: max(abs(low - other[name][0]), abs(high - other[name][1])) / (high - low)
        for name, (low, high) in one.items()
    }
    most = max(gaps, key=lambda name: gaps[name])
    return f"at most {gaps[most]:.3f} widths apart ({most})"


def main() -> None:
    """Print a line a number of rows and side."""
    resamples = intervals.RESAMPLES
    for rows in map(int, sys.argv[1:] or ["10000", "100000", "1000000"]):
        some = resamples if rows <= MOST_ROWS else MORE
        (by_row, seconds), _, peak = measured(ends, rows, False, some)
        if some < resamples:
            (_, first), *_ = measured(ends, rows, False, FEW)
            seconds += (seconds - first) * (resamples - MORE) / (MORE - FEW)
        print(f"{rows:>9} rows, by row   {seconds:7.1f} s {peak:6.0f} MiB", flush=True)
        (by_group, seconds), _, peak = measured(ends, rows, True, resamples)
        said = ""
        if some == resamples:
            (again, _), *_ = measured(ends, rows, False, resamples, 2)
            said = f"  {apart(by_row, by_group)}; two seeds by row: {apart(by_row, again)}"
        print(f"{rows:>9} rows, by group {seconds:7.1f} s {peak:6.0f} MiB{said}", flush=True)


if __name__ == "__main__":
    main()
