"""Drift since the champion was trained, by the population stability index."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.comparison import stability
from mlops_assets.lib.comparison.stability import drifted
from serving.bundle.columns import Column

COLUMNS = [
    Column(name="size", type="number", nullable=True),
    Column(name="count", type="integer"),
    Column(name="grade", type="category", allowed=["a", "b", "c"], nullable=True),
    Column(name="is_new", type="boolean"),
    Column(name="note", type="text"),
    Column(name="seen", type="timestamp"),
]
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
    return drifted(COLUMNS, folder / "inputs.parquet", ~NEW, new)


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
    column, index = found(rows, tmp_path)
    assert column == name
    assert index >= 0.25


def test_the_index_is_that_of_the_formula(tmp_path: Path) -> None:
    grades = ["a"] * 600 + ["b"] * 400 + ["a"] * 200 + ["b"] * 700 + [None] * 100
    pl.DataFrame({"grade": grades}).write_parquet(tmp_path / "inputs.parquet")
    old = np.arange(2000) < 1000
    name, index = drifted(COLUMNS[2:3], tmp_path / "inputs.parquet", old, ~old) or ("", 0)
    shares = np.array([[600.5, 400.5, 0.5], [200.5, 700.5, 100.5]]) / 1001.5
    expected = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert name == "grade"
    assert index == pytest.approx(expected)


def test_few_rows_give_no_answer(rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    rows["grade"][NEW] = "c"
    least = stability.MINIMUM_ROWS
    some = np.flatnonzero(NEW)[: least - 1]
    flags = np.isin(np.arange(2 * EACH), some)
    assert found(rows, tmp_path, flags) is None
    flags[np.flatnonzero(NEW)[least - 1]] = True
    assert found(rows, tmp_path, flags) is not None
