"""Rows through raw and validated: wall and CPU seconds and peak memory by row count.

Each step is a process of its own, so that its peak is its own. The data are made here, by column at
random.
"""

import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlops_assets.lib.batch_profile import profile_table
from mlops_assets.lib.contract import Contract
from mlops_assets.lib.reading import read_table
from mlops_assets.lib.validation import validate

ROWS = (10_000, 1_000_000, 10_000_000)
CHUNK_ROWS = 100_000
YES = ["Yes", "No"]
CATEGORIES = {
    "gender": ["F", "M"],
    "partner": YES,
    "dependents": YES,
    "phone": YES,
    "multiple_lines": [*YES, "No phone service"],
    "internet": ["DSL", "Fiber optic", "No"],
    **{
        name: [*YES, "No internet service"]
        for name in ("security", "backup", "protection", "support", "tv", "movies")
    },
    "term": ["Month-to-month", "One year", "Two year"],
    "paperless": YES,
    "payment": ["Electronic check", "Mailed check", "Bank transfer (automatic)", "Credit card"],
}


def agreed() -> Contract:
    """A contract of 21 columns and an outcome."""
    columns: list[dict[str, Any]] = [
        {"name": "customer", "type": "text"},
        {"name": "signed_up", "type": "timestamp"},
        {"name": "senior", "type": "boolean"},
        {"name": "tenure", "type": "integer", "minimum": 0, "maximum": 120},
        {"name": "monthly", "type": "number", "minimum": 0, "maximum": 500},
        {"name": "total", "type": "number", "minimum": 0, "nullable": True},
    ]
    columns += [{"name": n, "type": "category", "allowed": v} for n, v in CATEGORIES.items()]
    return Contract.model_validate(
        {
            "version": 1,
            "target": {"column": "churn"},
            "columns": [{**column, "description": "D."} for column in columns],
            "key": ["customer"],
        }
    )


def lines(rows: int) -> Iterator[str]:
    """CSV in chunks: one row in ten thousand is repeated, one in a thousand has a bad value."""
    random = np.random.default_rng(0)
    yield ",".join(["customer,signed_up,senior,tenure,monthly,total", *CATEGORIES, "churn"]) + "\n"
    for start in range(0, rows, CHUNK_ROWS):
        number = np.arange(start, min(start + CHUNK_ROWS, rows))
        count = len(number)
        days = np.datetime64("2018-01-01") + random.integers(0, 2500, count)
        tenure, monthly = random.integers(0, 73, count), random.uniform(18, 120, count).round(2)
        cells = [np.char.add("C", number.astype(str)), days.astype(str)]
        cells += [random.integers(0, 2, count).astype(str), tenure.astype(str)]
        cells[-1][number % 1000 == 500] = "new"
        cells += [
            monthly.astype(str),
            np.where(tenure, (monthly * tenure).round(2).astype(str), ""),
        ]
        for values in CATEGORIES.values():
            cells.append(np.array(values)[random.integers(0, len(values), count)])
        cells.append(random.integers(0, 2, count).astype(str))
        for column in cells:
            repeated = np.flatnonzero(number % 10_000 == 9_999)
            column[repeated] = column[repeated - 1]
        text = io.StringIO()
        text.writelines(",".join(row) + "\n" for row in zip(*cells, strict=True))
        yield text.getvalue()


def read(folder: Path) -> str:
    """Landed file to raw."""
    return f"{read_table(folder / 'landed.csv', folder / 'raw').rows} rows"


def judge(folder: Path) -> str:
    """Raw to validated, with the profile."""
    found = validate(
        agreed(), folder / "raw", folder / "valid", folder / "aside", batch="b", delimiter=","
    )
    profile_table(agreed(), folder / "valid")
    return f"{found.quarantined} in quarantine"


def measured(step: Callable[[Path], str], folder: Path) -> None:
    """Run a step in a process of its own and print a line."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_measure, args=(step, folder))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{step.__name__} failed")


def _measure(step: Callable[[Path], str], folder: Path) -> None:
    wall, before = time.perf_counter(), os.times()
    said = step(folder)
    wall, after = time.perf_counter() - wall, os.times()
    cpu = after.user + after.system - before.user - before.system
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {step.__name__:<8} {wall:7.1f} s, {cpu:7.1f} s of CPU, {peak:6.0f} MiB; {said}")


def main() -> None:
    """Print the figures of each row count."""
    for rows in map(int, sys.argv[1:]) if len(sys.argv) > 1 else ROWS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with (folder / "landed.csv").open("w") as file:
                file.writelines(lines(rows))
            size = (folder / "landed.csv").stat().st_size
            print(f"{rows} rows, {size / 1e6:.0f} MB", flush=True)
            for step in (read, judge):
                measured(step, folder)


if __name__ == "__main__":
    main()
