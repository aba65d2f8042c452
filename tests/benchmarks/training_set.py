"""Assembling and reading a training set of many rows: seconds and peak memory of each.

``python -m tests.benchmarks.training_set [rows ...]``: 25 inputs and 25 float features, two batches
that share one row in a hundred, an entity of about ten rows, split by hash. Each step is a process
of its own, so that its peak memory is its own. Target: at most 2 GiB to assemble, and linear.
"""

import sys
import tempfile
from pathlib import Path

import duckdb

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training_set.assemble import assemble
from mlops_assets.lib.training_set.files import Source
from mlops_assets.lib.training_set.rows import read_rows
from tests.benchmarks.measuring import measured

WIDTH = 25
NAMES = [f"x{number}" for number in range(WIDTH)]
BATCHES = ("one", "two")
AGREED = Contract.model_validate(
    {
        "version": 1,
        "target": {"column": "outcome"},
        "entity": "customer",
        "columns": [
            {"name": "customer", "type": "integer", "description": "Who."},
            *({"name": name, "type": "number", "description": "A value."} for name in NAMES),
        ],
    }
)


def sources(folder: Path) -> list[Source]:
    """The files of both batches."""
    return [Source(k, folder / f"{k}-features.parquet", folder / f"{k}.parquet") for k in BATCHES]


def generate(folder: Path, rows: int) -> None:
    """Write two batches of half the rows each."""
    half = rows // 2
    with duckdb.connect(config={"memory_limit": "1GB"}) as database:
        database.execute("set enable_progress_bar = false")
        for number, source in enumerate(sources(folder)):
            first = number * (half - half // 100)
            drawn = [f"(hash(i, {c}) % 100000) / 1000.0 as {n}" for c, n in enumerate(NAMES)]
            values = ", ".join(drawn)
            database.execute(
                f"""
                copy (
                    select '{source.key}-' || (i - {first} + 1) as row_id, i // 10 as customer,
                           {values}, (hash(i) % 100 < 5)::bigint as outcome
                    from range({first}, {first + half}) t(i)
                ) to '{source.validated}' (format parquet, compression zstd)
                """
            )
            floats = ", ".join(f"{name}::float as {name}" for name in NAMES)
            database.execute(
                f"copy (select row_id, {floats} from '{source.validated}') "
                f"to '{source.features}' (format parquet, compression zstd)"
            )


def assembled(folder: Path) -> str:
    """Assemble; say what was found."""
    found = assemble(sources(folder), AGREED, Split(), folder)
    return f"{found.train} rows to train on, {found.test} to test on, {found.repeated} repeated"


def read(folder: Path) -> str:
    """Read what was assembled; say how much it is."""
    found = read_rows(folder, NAMES, Split())
    return f"{found.features.nbytes / 2**20:.0f} MiB of features"


def main() -> None:
    """Print a line a step, for each number of rows."""
    for rows in map(int, sys.argv[1:] or ["1000000"]):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            generate(folder, rows)
            for step in (assembled, read):
                found, seconds, peak = measured(step, folder)
                print(
                    f"{rows:>9} rows {step.__name__:<9} {seconds:6.1f} s {peak:6.0f} MiB: {found}"
                )


if __name__ == "__main__":
    main()
