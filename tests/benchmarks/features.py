"""Microseconds of CPU a row of the feature SQL: compiled against DuckDB, in turn in the same run.

Rows are drawn from each use case's contract; both sides give arrays, whose bits are compared.

    python -m tests.benchmarks.features
"""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.bundle.compiler.proof import made_rows
from serving.bundle.features import FeatureRunner
from tests.serving.shipped import USE_CASES, shipped

SIZES = (1, 8, 32, 256, 1024)
ROUNDS = 9
SECONDS = 0.05  # a measurement


def microseconds(run: Callable[[Any], Any], rows: list[dict[str, Any]]) -> float:
    """CPU time of one row, when these are computed together; both sides use one thread."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < SECONDS:
        run(rows)
        count += 1
    return 1e6 * spent / count / len(rows)


def main() -> None:
    """Print both sides and the ratio for each use case and number of rows."""
    warnings.filterwarnings("ignore", "sqlglotrs is deprecated", DeprecationWarning)
    for use_case in USE_CASES:
        sql, contract, features = shipped(use_case)
        by_duckdb, compiled = (
            FeatureRunner(sql, contract.duckdb_types, features) for _ in range(2)
        )
        rows = made_rows(contract.columns, [], max(SIZES))
        start = time.process_time()
        compiled.compile(contract.columns, rows[:50])
        seconds = time.process_time() - start
        assert compiled.not_compiled is None, compiled.not_compiled
        assert np.array_equal(compiled.run(rows), by_duckdb.run(rows), equal_nan=True)
        print(
            f"{use_case}: {len(features)} features; compiled and proven in {seconds:.3f} s of CPU"
        )
        for size in SIZES:
            pairs = [
                (microseconds(by_duckdb.run, rows[:size]), microseconds(compiled.run, rows[:size]))
                for _ in range(ROUNDS)
            ]
            duckdb, python = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(
                f"{size:6} rows  DuckDB {duckdb:8.1f} µs a row   "
                f"compiled {python:6.1f} µs a row   {ratio:6.1f} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main()
