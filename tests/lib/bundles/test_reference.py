from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.lib.bundles.reference import QUANTILES, profile
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.training_set.files import INPUTS
from tests.lib.helpers import TINY_CONTRACT, Trained, column, contract


def profiled(folder: Path, agreed: Contract, inputs: pl.DataFrame) -> dict[str, object]:
    """Profile some rows, each with its number over ten as score."""
    numbered = inputs.with_columns(pl.format("r-{}", pl.int_range(pl.len())).alias("row_id"))
    numbered.write_parquet(folder / "inputs.parquet")
    scores = (pl.int_range(pl.len()) / 10).alias("probability")
    numbered.select("row_id", scores).write_parquet(folder / "scores.parquet")
    found = profile(agreed, folder / "inputs.parquet", folder / "scores.parquet")
    assert found["rows"] == inputs.height
    columns: dict[str, object] = found["columns"]
    return columns


def test_numbers_are_profiled_as_numpy_does(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(5, 2, 400)
    inputs = pl.DataFrame({"a": [*values, None, None], "b": [*range(400), None, 7]})
    found = profiled(tmp_path, contract(column("a"), column("b", "integer")), inputs)
    a = found["a"]
    assert isinstance(a, dict)
    assert a["missing"] == pytest.approx(2 / 402)
    assert (a["minimum"], a["maximum"]) == (values.min(), values.max())
    assert a["mean"] == pytest.approx(values.mean())
    assert a["deviation"] == pytest.approx(values.std())
    assert a["quantiles"] == pytest.approx(np.quantile(values, QUANTILES))
    assert a["levels"] == QUANTILES
    b = found["b"]
    assert isinstance(b, dict)
    assert (b["missing"], b["minimum"], b["maximum"]) == (pytest.approx(1 / 402), 0, 399)


def test_categories_are_profiled_by_their_shares(tmp_path: Path) -> None:
    agreed = contract(
        column("g", "category", allowed=[0, 1, 2]),
        column("s", "boolean", nullable=True),
        column("t", "text"),
    )
    inputs = pl.DataFrame(
        {"g": [1, 1, 1, 0], "s": [True, None, None, False], "t": ["x", "y", "y", "x"]}
    )
    assert profiled(tmp_path, agreed, inputs) == {
        "g": {"missing": 0.0, "shares": {"1": 0.75, "0": 0.25}},
        "s": {"missing": 0.5, "shares": {"false": 0.25, "true": 0.25}},
        "t": {"missing": 0.0, "shares": {"x": 0.5, "y": 0.5}},
    }


def test_missing_share_is_right_beside_many_values(tmp_path: Path) -> None:
    # Two rows of each text and one without: the gap is rarer than each of 300 values.
    texts = [f"t{n:03d}" for n in range(300) for _ in range(2)]
    inputs = pl.DataFrame({"t": [*texts, None]})
    found = profiled(tmp_path, contract(column("t", "text", nullable=True)), inputs)["t"]
    assert isinstance(found, dict)
    assert found["missing"] == pytest.approx(1 / 601)
    assert len(found["shares"]) == 200
    assert found["shares"]["t000"] == pytest.approx(2 / 601)


def test_column_that_is_always_absent_has_no_numbers(tmp_path: Path) -> None:
    inputs = pl.DataFrame({"a": [None, None]}, schema={"a": pl.Float64})
    found = profiled(tmp_path, contract(column("a", nullable=True)), inputs)["a"]
    assert isinstance(found, dict)
    assert found["missing"] == 1.0
    assert all(found[name] is None for name in ("minimum", "mean", "deviation", "quantiles"))


@pytest.mark.parametrize("name", ["probability", "score", "rows"])
def test_column_may_be_named_as_the_score(tmp_path: Path, name: str) -> None:
    agreed = contract(column(name))
    pl.DataFrame({"row_id": ["a", "b"], name: [5.0, 7.0]}).write_parquet(tmp_path / "i.parquet")
    pl.DataFrame({"row_id": ["a", "b"], "probability": [0.1, 0.3]}).write_parquet(
        tmp_path / "s.parquet"
    )
    found = profile(agreed, tmp_path / "i.parquet", tmp_path / "s.parquet")
    assert found["columns"][name]["mean"] == 6.0
    assert found["score"]["mean"] == pytest.approx(0.2)


def test_only_rows_with_a_score_are_profiled(tiny: Trained, tmp_path: Path) -> None:
    inputs = pl.read_parquet(tiny.training_set / INPUTS)
    scores = pl.read_parquet(tiny.candidate / "predictions.parquet")
    train = scores.filter(pl.col("side") == "train")
    train.select("row_id", "probability").write_parquet(tmp_path / "scores.parquet")
    found = profile(TINY_CONTRACT, tiny.training_set / INPUTS, tmp_path / "scores.parquet")
    assert found["rows"] == train.height < inputs.height
    assert list(found["columns"]) == [c.name for c in TINY_CONTRACT.columns]
    assert found["score"]["mean"] == pytest.approx(train["probability"].mean())
