from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute
import pytest

from mlops_assets.lib.bundles import bundle
from mlops_assets.lib.bundles.robustness import Flips, Steadiness, steadiness
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.spec.gate import Robustness
from mlops_assets.lib.training_set.files import INPUTS
from serving.bundle.loaded import Bundle
from tests.lib.helpers import TINY, TINY_CONTRACT, Trained


def load(tiny: Trained, folder: Path, **changes: Any) -> Bundle:
    manifest = bundle.write(tiny.parts(**changes), folder)
    return Bundle.load(folder, bundle.digest(manifest), TINY)


@pytest.fixture(scope="module")
def served(tiny: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(tiny, tmp_path_factory.mktemp("served") / "bundle")


def asked(served: Bundle, tiny: Trained, seed: int = 1, **limits: Any) -> Steadiness:
    inputs = tiny.training_set / INPUTS
    return steadiness(served, TINY_CONTRACT, inputs, Robustness(**limits), seed)


def test_answers_are_asked_again_with_noise_and_without_values(
    served: Bundle, tiny: Trained
) -> None:
    found = asked(served, tiny)
    assert found.rows == 200
    assert found.noise is not None
    assert found.noise.rows == 200
    # Grade is a category and no number; text, times and truth values have no noise.
    assert {each.column for each in found.noise_by_column} == {"age", "dose"}
    missing = {each.column: each for each in found.missing}
    assert missing.keys() == {"dose", "region", "smoker", "seen"}
    recorded = pl.read_parquet(tiny.training_set / INPUTS)["dose"].count()
    assert missing["dose"].rows == recorded < 200
    assert missing["dose"].flips > 0
    shares = [each.share.value for each in found.missing]
    assert shares == sorted(shares, reverse=True)
    assert found == asked(served, tiny)


def test_more_noise_flips_more_and_is_a_problem(served: Bundle, tiny: Trained) -> None:
    little, much = (asked(served, tiny, noise=noise) for noise in (0.001, 1.0))
    assert little.noise is not None
    assert much.noise is not None
    assert little.noise.flips <= 2
    assert much.noise.flips > 30
    assert little.problems(Robustness(missing_flips=1)) == []
    (said,) = much.problems(Robustness(missing_flips=1))
    assert f"flips {much.noise}, the limit is 2.0%" in said
    assert f"the worst column is {much.noise_by_column[0].column}" in said


def test_a_sample_is_the_first_rows(served: Bundle, tiny: Trained) -> None:
    assert asked(served, tiny, rows=100).rows == 100


@pytest.mark.parametrize(("low", "problem"), [(0.36, True), (0.34, False)])
def test_missing_values_gate_by_the_lower_end(low: float, problem: bool) -> None:
    found = Steadiness(50, None, [], [Flips("dose", 50, 30, Interval(0.6, low, 0.8))])
    said = ["without dose 30 of 50 rows (60.0%) flip, the limit is 35.0%"]
    assert found.problems(Robustness()) == (said if problem else [])


class Watched:
    """A bundle, and the rows that it was asked with."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.tables: list[pa.Table] = []

    def predict_table(self, rows: pa.Table) -> Any:
        self.tables.append(rows)
        return self.bundle.predict_table(rows)


def test_noise_stays_within_the_contract(served: Bundle, tiny: Trained) -> None:
    watched: Any = Watched(served)
    lower = TINY_CONTRACT.model_dump()
    lower["columns"][0] |= {"maximum": 95}
    inputs, narrow = tiny.training_set / INPUTS, Contract.model_validate(lower)
    steadiness(watched, narrow, inputs, Robustness(noise=1.0), 1)
    first, *others = watched.tables
    columns = [pa.compute.min_max(table["age"]).as_py() for table in others]
    assert min(found["min"] for found in columns) == 0
    assert max(found["max"] for found in columns) == 95
    assert {table.schema for table in others} == {first.schema}
    for name in ("dose", "region"):  # what is missing stays so, and what is no number as it was
        nulls = {table[name].null_count for table in others}
        assert nulls == {first[name].null_count, len(first)}


def test_whole_numbers_move_by_one_at_least_where_that_is_little(
    served: Bundle, tiny: Trained
) -> None:
    watched: Any = Watched(served)
    asked(watched, tiny, noise=0.001)
    first, *others = watched.tables
    moved = [pa.compute.subtract(table["age"], first["age"]).to_pylist() for table in others]
    assert {abs(by) for by in moved[0]} == {1}
