"""What drift costs where there is much of it: time and peak memory, ours and Evidently's.

``python -m tests.benchmarks.drift`` compares 3 million rows with 300 thousand, of 50 columns, and
prints the table of ``docs/monitoring.md``; ``--columns 1000`` does the same for a wide table. Three
columns of four are numbers, the others categories; a tenth of the columns has moved.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import duckdb

from mlops_assets.lib.drift.sides import Column, Pair, parquet
from mlops_assets.lib.drift.window import compare
from mlops_assets.lib.spec.drift import Drift
from tests.benchmarks.measuring import measured

# Of every tenth column, in standard deviations; a category becomes as uneven.
SHIFT = 0.3


def columns(count: int) -> list[Column]:
    """Three numbers, then a category, and so on."""
    return [Column(f"c{n}", "input", n % 4 != 3, f"c{n}", f"c{n}") for n in range(count)]


def write(path: Path, rows: int, count: int, seed: float, moved: float) -> None:
    """Write a side, its columns by DuckDB's random numbers."""
    made = []
    for column in columns(count):
        n = int(column.name[1:])
        shift = moved if n % 10 == 0 else 0
        if column.numeric:
            made.append(f"(sqrt(-2 * ln(1 - random())) * cos(6.283185 * random()) + {shift})")
        else:
            made.append(f"(floor(8 * random() ** (1 + {shift})))::integer")
    values = ", ".join(f"{value} as c{n}" for n, value in enumerate(made))
    with duckdb.connect() as database:
        database.execute(f"set enable_progress_bar = false; select setseed({seed})")
        database.execute(
            f"copy (select {values} from range({rows})) to '{path}' (format parquet, "
            f"row_group_size {100_000 if count <= 100 else 20_000})"
        )


def ours(folder: Path, count: int) -> tuple[int, int, float]:
    """Compare the two files.

    Returns:
        Drifted columns, how many had moved, and the CPU time in seconds.
    """
    sides = [parquet(folder / f"{side}.parquet") for side in ("reference", "current")]
    start = time.process_time()
    found = compare([Pair(sides[0], sides[1], columns(count))], Drift())
    drifted = sum(bool(finding.drifted) for finding in found.findings)
    return drifted, len(range(0, count, 10)), time.process_time() - start


def evidently(folder: Path, count: int) -> tuple[int, int, float]:
    """The same by Evidently's default preset, which reads all of both sides into memory."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    start = time.process_time()
    warnings.simplefilter("ignore")
    definition = DataDefinition(
        numerical_columns=[c.name for c in columns(count) if c.numeric],
        categorical_columns=[c.name for c in columns(count) if not c.numeric],
    )
    sides = [
        Dataset.from_pandas(pd.read_parquet(folder / f"{side}.parquet"), data_definition=definition)
        for side in ("current", "reference")
    ]
    found = Report([DataDriftPreset()]).run(*sides).dict()["metrics"][0]["value"]["count"]
    return int(found), len(range(0, count, 10)), time.process_time() - start


def main() -> None:
    """Print what each costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--rows", type=int, default=3_000_000, help="of the current side")
    parser.add_argument("--evidently-rows", type=int, default=0, help="a run of Evidently as well")
    options = parser.parse_args()
    print("| | current rows | reference rows | columns | found / moved | s | CPU s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for step, rows in ((ours, options.rows), (evidently, options.evidently_rows)):
        if not rows:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write(folder / "reference.parquet", rows // 10, options.columns, 0.1, 0)
            write(folder / "current.parquet", rows, options.columns, 0.2, SHIFT)
            (found, moved, cpu), seconds, peak = measured(step, folder, options.columns)
        print(
            f"| {step.__name__} | {rows:,} | {rows // 10:,} | {options.columns:,} | "
            f"{found} / {moved} | {seconds:.1f} | {cpu:.1f} | {peak:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
