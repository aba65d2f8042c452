"""Customers through raw, validated and features: seconds and peak memory by row count.

Each step is a process of its own, so that its peak is its own. dbt's part is shown beside the same
SQL in bare DuckDB, on the same rows.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from mlops_assets.lib.features.dbt_project import (
    DBT,
    INPUT_RELATION,
    feature_model,
    file_relation,
    prepare,
)
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.table import read_table
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.synthetic import GENERATORS
from mlops_assets.lib.validation.batch_profile import profile_table
from mlops_assets.lib.validation.validate import validate
from mlops_assets.resources import Dbt
from mlops_assets.stages.features import run_dbt

ROWS = (10_000, 1_000_000, 10_000_000)
SPEC = load_spec("churn")


def read(folder: Path) -> str:
    """Landed file to raw."""
    table = read_table(
        folder / "landed.csv", folder / "raw", SPEC.reading, Privacy.of(SPEC.contract)
    )
    return f"{table.rows} rows"


def judge(folder: Path) -> str:
    """Raw to validated, with the profile."""
    files = [folder / name for name in ("raw", "valid", "aside")]
    found = validate(SPEC.contract, *files, batch="b", delimiter=",")
    profile_table(SPEC.contract, folder / "valid")
    return f"{found.quarantined} in quarantine"


def features(folder: Path) -> str:
    """Validated to features by dbt, with its tests."""
    model = feature_model(prepare(SPEC.name, SPEC.contract), SPEC.name)
    results = run_dbt(
        Dbt(executable=str(DBT)), model, folder / "valid", folder / "features", folder
    )
    (folder / "sql").write_text(next(r["compiled_code"] for r in results if r["compiled_code"]))
    made = next(r for r in results if r["unique_id"].startswith("model."))
    return f"the SELECT alone {made['execution_time']:.1f} s, the rest is dbt and its tests"


def bare(folder: Path) -> str:
    """The same SELECT in DuckDB alone."""
    sql = (folder / "sql").read_text()
    assert INPUT_RELATION in sql
    sql = sql.replace(INPUT_RELATION, file_relation(folder / "valid"))
    settings: dict[str, Any] = {
        "threads": 2,
        "memory_limit": "1GB",
        "temp_directory": str(folder / "spill"),
    }
    with duckdb.connect(config=settings) as database:
        database.execute(f"copy ({sql}) to '{folder / 'bare'}' (format parquet, compression zstd)")
    return "the same SELECT, no test"


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
    cpu = sum(after[:4]) - sum(before[:4])
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in whose) / 1024
    print(
        f"  {step.__name__:<8} {wall:7.1f} s, {cpu:7.1f} s of CPU, {peak:6.0f} MiB; {said}",
        flush=True,
    )


def main() -> None:
    """Print the figures of each row count."""
    generator = GENERATORS["churn"]
    for rows in map(int, sys.argv[1:]) if len(sys.argv) > 1 else ROWS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            options = generator.options.model_validate({"rows": rows, "bad_rows": 0.001})
            generator.write(options, folder / "landed.csv")
            size = (folder / "landed.csv").stat().st_size
            print(f"{rows} rows, {size / 1e6:.0f} MB", flush=True)
            for step in (read, judge, features, bare):
                measured(step, folder)


if __name__ == "__main__":
    main()
