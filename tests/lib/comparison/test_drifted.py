"""Drift since the champion was trained."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.comparison.drifted import drifted
from mlops_assets.lib.spec.drift import Drift
from serving.bundle.contract import Contract

CONTRACT = Contract.model_validate(
    {
        "use_case": "tiny",
        "version": 1,
        "columns": [
            {"name": "size", "type": "number", "nullable": True},
            {"name": "count", "type": "integer"},
            {"name": "grade", "type": "category", "allowed": ["a", "b", "c"], "nullable": True},
            {"name": "is_new", "type": "boolean"},
            {"name": "note", "type": "text"},
            {"name": "seen", "type": "timestamp"},
        ],
    }
)
EACH = 2000


@pytest.fixture
def rows() -> dict[str, NDArray[Any]]:
    """Half old, half new, in turn, and alike but for what is new in every row."""
    random = np.random.default_rng(1)
    count = 2 * EACH
    return {
        "size": random.normal(size=count),
        "count": random.poisson(0.05, count),
        "grade": random.choice(["a", "b"], count),
        "is_new": random.random(count) < 0.1,
        "note": np.arange(count).astype(str),
        "seen": np.arange(count).astype("datetime64[us]"),
    }


NEW = np.arange(2 * EACH) % 2 == 1


def found(rows: dict[str, Any], folder: Path, new: NDArray[np.bool_] = NEW) -> Any:
    table = pl.DataFrame(rows).with_columns(size=pl.col("size").fill_nan(None))
    table.write_parquet(folder / "inputs.parquet")
    return drifted(CONTRACT, folder / "inputs.parquet", ~NEW, new, Drift())


def test_rows_that_are_alike_have_not_drifted(
    rows: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    assert found(rows, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("size", np.full(EACH, np.nan)),
        ("size", np.random.default_rng(2).normal(1, 1, EACH)),
        ("count", np.ones(EACH, dtype=int)),
        ("grade", np.full(EACH, "c")),
        ("is_new", np.full(EACH, True)),
    ],
)
def test_the_input_that_drifted_most_is_named(
    rows: dict[str, NDArray[Any]], tmp_path: Path, name: str, new: NDArray[Any]
) -> None:
    rows[name][NEW] = new
    said = found(rows, tmp_path)
    assert said.startswith(f"{name} ")


def test_few_rows_give_no_answer(rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    rows["grade"][NEW] = "c"
    least = Drift().minimum_rows
    some = np.flatnonzero(NEW)[: least - 1]
    flags = np.isin(np.arange(2 * EACH), some)
    assert found(rows, tmp_path, flags) is None
    flags[np.flatnonzero(NEW)[least - 1]] = True
    assert found(rows, tmp_path, flags) is not None
