"""The generator of customers, and the use case that is made for it."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlops_assets.lib.features.dbt_project import (
    DBT,
    INPUT_RELATION,
    INPUT_VARIABLE,
    OUTPUT_VARIABLE,
    PROJECT_DIR,
    model_name,
)
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.synthetic import GENERATORS, ChurnOptions, write
from mlops_assets.lib.synthetic.churn import NULLABLE, blocks, log_odds
from mlops_assets.lib.synthetic.churn_columns import (
    BLOCK_ROWS,
    CONTRACTS,
    INTERNET,
    PAYMENTS,
    REGIONS,
)
from mlops_assets.lib.synthetic.reachable import best_auc
from serving.bundle.features import FeatureRunner
from tests.lib.helpers import validated

LABELS = {
    "region": REGIONS,
    "contract_type": CONTRACTS,
    "internet_service": INTERNET,
    "payment_method": PAYMENTS,
}
PEAK = """
import sys
from pathlib import Path
from mlops_assets.lib.synthetic import ChurnOptions, write
write(ChurnOptions(rows=int(sys.argv[1])), Path(sys.argv[2]))
print(next(n for n in open("/proc/self/status") if n.startswith("VmHWM")).split()[1])
"""


@pytest.fixture(scope="module")
def spec() -> UseCase:
    return load_spec("churn")


def made(folder: Path, **options: Any) -> pl.DataFrame:
    """A generated file as text, in which nothing is lost."""
    write(ChurnOptions(**options), folder / "made.csv")
    return pl.read_csv(folder / "made.csv", infer_schema=False)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_the_same_options_give_the_same_bytes(tmp_path: Path, file_format: str) -> None:
    asked = GENERATORS["churn"].options.model_validate(
        {"rows": 500, "seed": 4, "bad_rows": 0.1, "missing": 0.1, "format": file_format}
    )
    first = write(asked, tmp_path / "a")
    assert first == write(asked, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_both_formats_hold_the_same_customers(tmp_path: Path) -> None:
    write(ChurnOptions(rows=300), tmp_path / "a.csv")
    write(ChurnOptions(rows=300, format="parquet"), tmp_path / "a.parquet")
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert frame["snapshot_at"].dtype == pl.Datetime("us")
    assert frame.equals(pl.read_csv(tmp_path / "a.csv", schema=frame.schema))


def test_a_row_depends_neither_on_how_many_follow_nor_on_what_else_is_asked(
    tmp_path: Path,
) -> None:
    few, many = made(tmp_path, rows=700), made(tmp_path, rows=BLOCK_ROWS + 700)
    more = made(tmp_path, rows=BLOCK_ROWS + 900)
    assert many.height == BLOCK_ROWS + 700
    assert few.equals(many[:700])
    assert many.equals(more[:-200])
    assert many["customer_id"].n_unique() == many.height
    # A second block is no copy of the first.
    assert not few["minutes_month"].equals(many["minutes_month"][BLOCK_ROWS:])
    # Bad rows among them change none of the others.
    broken = made(tmp_path, rows=700, bad_rows=0.3)
    unlike = [a != b for a, b in zip(few.rows(), broken.rows(), strict=True)]
    assert 0.2 < np.mean(unlike) < 0.4


@pytest.mark.parametrize("change", [{"seed": 2}, {"start": date(2025, 1, 29)}])
def test_another_seed_or_month_has_other_customers(tmp_path: Path, change: dict[str, Any]) -> None:
    one, other = made(tmp_path, rows=200), made(tmp_path, rows=200, **change)
    assert not set(one["customer_id"]) & set(other["customer_id"])
    assert not one["minutes_month"].equals(other["minutes_month"])


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(rows), tmp_path / "made.csv"],
                capture_output=True,
                check=True,
            ).stdout
        )
        for rows in (BLOCK_ROWS, 6 * BLOCK_ROWS)
    ]
    # In KiB. The further rows alone would be about 80 MiB.
    assert peaks[1] - peaks[0] < 45 * 1024


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**63 - 1),
    drift=st.floats(0, 1),
    missing=st.floats(0, 1),
    bad_rows=st.sampled_from([0.05, 0.0, 0.6]),
)
def test_good_rows_keep_the_contract_and_bad_ones_do_not(
    tmp_path: Path, spec: UseCase, seed: int, drift: float, missing: float, bad_rows: float
) -> None:
    asked = ChurnOptions(rows=250, seed=seed, drift=drift, missing=missing, bad_rows=bad_rows)
    written = write(asked, tmp_path / "made.csv")
    batch = validated(spec.contract, (tmp_path / "made.csv").read_text(), tmp_path)
    (block,) = blocks(asked)
    good = np.isnan(block.fault)
    ids = block.frame["customer_id"].to_numpy()
    assert batch.valid["customer_id"].to_list() == list(ids[good])
    assert batch.quarantine["customer_id"].to_list() == list(ids[~good])
    assert (written.rows, written.bad_rows) == (250, int((~good).sum()))
    assert batch.found.positives == written.positives
    assert written.best_auc == pytest.approx(best_auc(block.probability[good]), abs=1e-5)


def test_bad_rows_of_a_typed_file_break_the_contract_as_well(tmp_path: Path, spec: UseCase) -> None:
    written = write(ChurnOptions(rows=400, bad_rows=0.2, format="parquet"), tmp_path / "a.parquet")
    text = pl.read_parquet(tmp_path / "a.parquet").write_csv()
    batch = validated(spec.contract, text, tmp_path)
    assert batch.found.quarantined == written.bad_rows > 50
    assert len(batch.found.reasons) == 6


def test_the_file_has_the_columns_of_the_contract_and_no_other(
    tmp_path: Path, spec: UseCase
) -> None:
    names = [column.name for column in spec.contract.columns] + [spec.contract.target.column]
    assert made(tmp_path, rows=10).columns == names


@pytest.mark.parametrize("options", [{}, {"drift": 0.7, "missing": 0.3, "seed": 9}])
def test_the_true_probability_follows_from_what_the_file_shows(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    asked = ChurnOptions(rows=2000, **options)
    frame = made(tmp_path, **asked.model_dump())
    columns: dict[str, Any] = {}
    for name in frame.columns[3:-1]:
        if name in LABELS:
            columns[name] = np.array([LABELS[name].index(value) for value in frame[name]])
        elif name.endswith("_addon"):
            columns[name] = (frame[name] == "true").to_numpy()
        else:
            columns[name] = frame[name].cast(pl.Float64).to_numpy()
        assert frame[name].null_count() == 0 or name in NULLABLE
    (block,) = blocks(asked)
    shown = 1 / (1 + np.exp(-log_odds(columns, asked.drift)))
    np.testing.assert_allclose(shown, block.probability, rtol=1e-12)
    # Outcomes are drawn from it: within four standard errors.
    left = (frame["churned"] == "yes").to_numpy().mean()
    assert abs(left - shown.mean()) < 4 * np.sqrt((shown * (1 - shown)).mean() / len(shown))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_base_rate_and_best_auc_are_realistic(tmp_path: Path, seed: int) -> None:
    found = write(ChurnOptions(seed=seed), tmp_path / "made.csv")
    assert 0.12 < found.base_rate < 0.18
    assert 0.82 < found.best_auc < 0.86


def test_drift_moves_inputs_and_the_relation_and_draws_nothing_anew() -> None:
    (still,), (moved,) = (blocks(ChurnOptions(rows=5000, drift=d)) for d in (0.0, 1.0))

    def mean(frame: pl.DataFrame, what: pl.Expr) -> float:
        return float(frame.select(what.cast(pl.Float64).mean()).item())

    unbound = pl.col("contract_type") == "month_to_month"
    price, usage = pl.col("monthly_charge"), pl.col("usage_change")
    assert 1.15 < mean(moved.frame, price) / mean(still.frame, price) < 1.35
    assert mean(moved.frame, unbound) - mean(still.frame, unbound) > 0.1
    assert mean(moved.frame, usage) - mean(still.frame, usage) < -0.05
    untouched = ["region", "age", "tenure_months", "support_calls_90d", "snapshot_at"]
    assert still.frame.select(untouched).equals(moved.frame.select(untouched))
    assert moved.probability.mean() > 1.5 * still.probability.mean()
    # The relation itself: support calls weigh more for a customer who is the same in everything.
    zero = dict.fromkeys([*LABELS, "tenure_months", "phone_lines", "usage_change"], np.array([0]))
    zero |= dict.fromkeys(["failed_payments_6m", "days_late", "outages_90d"], np.array([0]))
    zero |= dict.fromkeys(["security_addon", "streaming_addon"], np.array([False]))
    zero |= dict.fromkeys(NULLABLE, np.array([np.nan])) | {"monthly_charge": np.array([5.0])}
    weight = [
        log_odds(zero | {"support_calls_90d": np.array([3])}, drift)
        - log_odds(zero | {"support_calls_90d": np.array([0])}, drift)
        for drift in (0.0, 1.0)
    ]
    assert weight[1] == pytest.approx(2 * weight[0])


def test_customers_whose_outcome_is_not_known_yet_wait(tmp_path: Path) -> None:
    everyone = made(tmp_path, rows=600)
    asked = ChurnOptions(rows=600, label_delay=14)
    found = write(asked, tmp_path / "early.csv")
    early = pl.read_csv(tmp_path / "early.csv", infer_schema=False)
    assert early["snapshot_at"].max() == "2025-01-15T00:00:00"
    assert early.equals(everyone.filter(pl.col("snapshot_at") <= "2025-01-15T00:00:00"))
    assert found.rows + found.waiting == 600
    assert everyone.equals(made(tmp_path, rows=600, label_delay=14, as_of=date(2025, 2, 15)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 0}, "rows"),
        ({"drift": 1.1}, "drift"),
        ({"bad_rows": float("nan")}, "bad_rows"),
        ({"start": "2025-13-01"}, "start"),
        ({"start": "9999-12-31"}, "start"),
        ({"format": "xlsx"}, "format"),
        ({"colour": "red"}, "colour"),
        ({"label_delay": 29}, "29 days after 2025-01-01, .* nothing is known as of 2025-01-29"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ChurnOptions.model_validate(options)


def test_a_file_that_cannot_be_made_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made.csv"
    path.write_text("before")
    with pytest.raises(ValueError, match="0 good rows of 50 customers"):
        write(ChurnOptions(rows=50, bad_rows=1), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_one_build_passes_every_test_and_gives_the_features_that_serving_computes(
    spec: UseCase, tmp_path: Path
) -> None:
    write(ChurnOptions(rows=400, missing=0.1, bad_rows=0.1), tmp_path / "made.csv")
    batch = validated(spec.contract, (tmp_path / "made.csv").read_text(), tmp_path)
    paths = {
        INPUT_VARIABLE: str(tmp_path / "valid.parquet"),
        OUTPUT_VARIABLE: str(tmp_path / "features.parquet"),
    }
    done = subprocess.run(
        [DBT, "build", "--select", model_name("churn"), "--target-path", tmp_path / "target"],
        cwd=PROJECT_DIR,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "target" / "run_results.json").read_bytes())["results"]
    kinds = [(r["unique_id"].split(".")[0], r["status"]) for r in results]
    assert {kind for kind in kinds if kind[0] != "model"} == {
        ("test", "pass"),
        ("unit_test", "pass"),
    }
    features = pl.read_parquet(tmp_path / "features.parquet")
    (compiled,) = (r["compiled_code"] for r in results if r["unique_id"].startswith("model."))
    types = {column.name: column.duckdb_type for column in spec.contract.inputs}
    # Identifiers and personal data are no input: this refuses SQL that reads one.
    sql = portable(compiled, INPUT_RELATION, types)
    served = FeatureRunner(sql, types, features.columns[1:]).run(
        batch.valid.select(list(types)).to_dicts()
    )
    np.testing.assert_array_equal(served, features.drop("row_id").to_numpy().astype(np.float32))
