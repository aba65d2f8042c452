"""How often drift is found where there is none, and where there is some.

``python -m tests.benchmarks.drift_alarms`` prints the table of ``docs/monitoring.md``.

Windows have 14 columns that hang together (8 numbers, some skewed, some with gaps, some whole; 6
categories), drawn anew each time as their reference of 3,000 rows is. Drift moves one number.
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops_assets.lib.drift.report import draw
from mlops_assets.lib.drift.sides import Column, Pair, connected
from mlops_assets.lib.drift.window import Window, compare_on
from mlops_assets.lib.spec.drift import Drift
from mlops_assets.lib.spec.specs import load_spec

DATA = Path(__file__).parents[2] / "mlops_assets" / "data"
REFERENCE_ROWS = 3_000
SIZES = (300, 3_000)
SHIFTS = (0.2, 0.5, 1.0)
NUMBERS, CATEGORIES = 8, 6
TOGETHER = 0.3
COLUMNS = [
    *(Column(f"x{n}", "input", True, f"x{n}", f"x{n}") for n in range(NUMBERS)),
    *(Column(f"k{n}", "input", False, f"k{n}", f"k{n}") for n in range(CATEGORIES)),
]
PAIR = Pair("reference", "current", COLUMNS)


def rows(random: np.random.Generator, count: int, shift: float = 0.0) -> pa.Table:
    """Draw rows; x0 is moved by so many standard deviations."""
    common = random.normal(size=(count, 1))
    own = random.normal(size=(count, NUMBERS + CATEGORIES))
    latent = np.sqrt(TOGETHER) * common + np.sqrt(1 - TOGETHER) * own
    made: dict[str, Any] = {}
    for n in range(NUMBERS):
        values = latent[:, n]
        values = np.exp(values) if n in (2, 3) else np.round(values * 2) if n in (4, 5) else values
        made[f"x{n}"] = pa.array(values, mask=random.random(count) < (0.05 if n in (6, 7) else 0))
    made["x0"] = pa.array(latent[:, 0] + shift)
    for n in range(CATEGORIES):
        # Two to seven values, the last of them rare.
        edges = np.linspace(-0.8, 2.0, n + 1)
        made[f"k{n}"] = pa.array(np.digitize(latent[:, NUMBERS + n], edges).astype(str))
    return pa.table(made)


def windows(
    database: duckdb.DuckDBPyConnection, count: int, size: int, shift: float
) -> Iterator[Window]:
    """Judge windows with the defaults of the spec."""
    for seed in range(count):
        random = np.random.default_rng([seed, size, int(shift * 10)])
        database.register("reference", rows(random, REFERENCE_ROWS))
        database.register("current", rows(random, size, shift))
        yield compare_on(database, [PAIR], Drift())


def ours(count: int, powered: int) -> None:
    """Print how many windows alarm."""
    print("| rows | drift | windows | alarm | the moved column is among them |")
    print("| --- | --- | --- | --- | --- |")
    with connected() as database:
        for size in SIZES:
            for shift in (0.0, *SHIFTS):
                number = powered if shift else count
                alarms = named = 0
                for window in windows(database, number, size, shift):
                    alarms += window.drifted
                    named += any(f.drifted and f.measured.name == "x0" for f in window.findings)
                what = f"x0 by {shift} standard deviations" if shift else "none"
                found = f"{named / number:.1%}" if shift else ""
                print(
                    f"| {size:,} | {what} | {number:,} | {alarms / number:.1%} | {found} |",
                    flush=True,
                )


def theirs(count: int) -> None:
    """Print what Evidently's default preset says of the first of the same windows."""
    print("| rows | drift | windows | some column found | share of columns found enough |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        page, root = Path(folder) / "page.html", Path(folder)
        for size in SIZES:
            for shift in (0.0, 0.5):
                some = enough = 0
                for seed in range(count):
                    random = np.random.default_rng([seed, size, int(shift * 10)])
                    sides = []
                    for name, table in (
                        ("reference", rows(random, REFERENCE_ROWS)),
                        ("current", rows(random, size, shift)),
                    ):
                        pq.write_table(table, root / f"{name}.parquet")
                        sides.append(f"read_parquet('{root / name}.parquet')")
                    pair = Pair(sides[0], sides[1], COLUMNS)
                    with connected() as database:
                        window = compare_on(database, [pair], Drift())
                    verdict = draw([pair], window, REFERENCE_ROWS, page)
                    some += verdict.drifted > 0
                    enough += verdict.drifted >= verdict.share * verdict.columns
                what = f"x0 by {shift} standard deviations" if shift else "none"
                print(f"| {size:,} | {what} | {count} | {some} | {enough} |", flush=True)


def hungarian() -> None:
    """Print the verdict on the Hungarian site against Cleveland, all rows of both."""
    spec = load_spec("heart_disease")
    sides = [
        f"read_csv('{DATA / f'heart_{site}.csv'}', nullstr = ['', '?'])"
        for site in ("cleveland", "hungarian")
    ]
    columns = [
        Column(c.name, "input", c.allowed is None, c.landed_name, c.landed_name)
        for c in spec.contract.inputs
    ]
    with connected() as database:
        found = compare_on(database, [Pair(sides[0], sides[1], columns)], spec.drift)
    print(f"Hungarian against Cleveland: drift score {found.score:.2f}; {found.reason}")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000, help="without drift, of each size")
    parser.add_argument("--powered", type=int, default=200, help="with drift, of each size")
    parser.add_argument("--evidently", type=int, default=60, help="for Evidently; 0 for none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hungarian()
    print()
    ours(options.windows, options.powered)
    if options.evidently:
        print()
        theirs(options.evidently)


if __name__ == "__main__":
    main()
