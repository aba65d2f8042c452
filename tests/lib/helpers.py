"""Small real data for the tests of `lib`: contracts, batches and models made in code."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.lib.bundles.bundle import Parts
from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.reading.raw_table import REASONS
from mlops_assets.lib.reading.table import read_table
from mlops_assets.lib.spec.split import Split as Holdout
from mlops_assets.lib.spec.training_plan import STACK, Algorithm, Training
from mlops_assets.lib.training.folds import FREE, Ties
from mlops_assets.lib.training.onnx_model import convert
from mlops_assets.lib.training.train import Chosen, train
from mlops_assets.lib.training.train import Trained as Model
from mlops_assets.lib.training_set.assemble import assemble
from mlops_assets.lib.training_set.files import ROWS, Source
from mlops_assets.lib.validation.result import Validation
from mlops_assets.lib.validation.validate import validate

# Few folds and trials: what is tested is the way, not the model.
QUICK = Training.model_validate(
    {"outer_folds": 3, "inner_folds": 3, "trials": 2, "candidates": {"logistic_regression": {}}}
)

# Every algorithm, in small.
EVERY = Training.model_validate(
    {
        "outer_folds": 3,
        "inner_folds": 2,
        "trials": 2,
        "candidates": {
            "logistic_regression": {},
            "random_forest": {"fixed": {"n_estimators": 10}},
            "gradient_boosting": {"fixed": {"max_iter": 30}, "patience": 5},
            "xgboost": {"fixed": {"n_estimators": 30, "min_child_weight": 1}, "patience": 5},
            "stacked_ensemble": {},
        },
    }
)


def column(name: str, kind: str = "number", **changes: Any) -> Column:
    """A column that says only what matters to a test."""
    return Column.model_validate({"name": name, "type": kind, "description": "D.", **changes})


def contract(*columns: Column, **changes: Any) -> Contract:
    """A contract with the outcome `outcome`, 1 or 0."""
    return Contract(version=1, target=Target(column="outcome"), columns=list(columns), **changes)


def as_csv(rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class Batch:
    """A batch after validation."""

    found: Validation
    valid: pl.DataFrame
    quarantine: pl.DataFrame

    @property
    def reasons(self) -> list[str]:
        """The reasons of each quarantined row, in the order of the file."""
        return self.quarantine[REASONS].to_list()


def validated(agreed: Contract, text: str, folder: Path, batch: str = "b") -> Batch:
    """Read and validate a batch with the real functions."""
    landed = folder / "landed.csv"
    landed.write_text(text, encoding="utf-8")
    read = read_table(landed, folder / "raw.parquet")
    found = validate(
        agreed,
        folder / "raw.parquet",
        folder / "valid.parquet",
        folder / "quarantine.parquet",
        batch=batch,
        delimiter=read.delimiter,
    )
    return Batch(
        found,
        pl.read_parquet(folder / "valid.parquet"),
        pl.read_parquet(folder / "quarantine.parquet"),
    )


def signal(rows: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Four features with gaps, of which the first tells something about the outcome."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 4))
    target = (features[:, 0] + random.normal(size=rows) > 0).astype(np.float64)
    features[random.random(features.shape) < 0.1] = np.nan
    return features.astype(np.float32), target


def train_every(
    features: NDArray[np.float32],
    target: NDArray[np.float64],
    plan: Training = EVERY,
    ties: Ties = FREE,
) -> dict[Algorithm, Model]:
    """Every candidate of a plan; the stacked ensemble is made of the others."""
    made: dict[Algorithm, Model] = {}
    chosen: dict[Algorithm, Chosen] = {}
    for name in plan.members:
        made[name] = train(name, features, target, plan, ties=ties)
        chosen[name] = made[name].chosen
    if STACK in plan.candidates:
        made[STACK] = train(STACK, features, target, plan, chosen, ties)
    return made


TINY = "tiny"
TINY_CONTRACT = Contract.model_validate(
    {
        "version": 3,
        "target": {"column": "ill", "positive": "yes", "negative": "no", "positive_label": "ill"},
        "columns": [
            {"name": "age", "type": "integer", "description": "Age.", "minimum": 0, "maximum": 120},
            {
                "name": "dose",
                "type": "number",
                "description": "Dose.",
                "nullable": True,
                "missing_values": [-1],
            },
            {"name": "grade", "type": "category", "description": "Grade.", "allowed": [0, 1, 2]},
            {
                "name": "region",
                "type": "category",
                "description": "Region.",
                "allowed": ["north", "it's south"],
                "nullable": True,
            },
            {"name": "smoker", "type": "boolean", "description": "Smokes.", "nullable": True},
            {"name": "seen", "type": "timestamp", "description": "Seen.", "nullable": True},
        ],
    }
)
TINY_SQL = """-- One row in, one row out.
select
    row_id,
    age::float as age,
    dose::float as dose,
    (dose is null)::float as dose_unrecorded,
    (grade = 2)::float as grade_2,
    (coalesce(region, '') = 'it''s south')::float as south,
    smoker::float as smoker,
    date_part('hour', seen)::float as hour
from {relation}
"""


def tiny_csv(rows: int, seed: int = 0) -> str:
    """Patients of whom the old with a high dose are ill, mostly."""
    random = np.random.default_rng(seed)
    lines: list[list[object]] = [[c.name for c in TINY_CONTRACT.every_column]]
    for number in range(rows):
        age, dose = int(random.integers(18, 90)), round(float(random.uniform(0, 10)), 2)
        ill = random.random() < 1 / (1 + np.exp(-(age - 50) / 10 - (dose - 5) / 2))
        lines.append(
            [
                age,
                -1 if random.random() < 0.1 else dose,
                int(random.integers(0, 3)),
                ["north", "it's south", ""][number % 3],
                ["true", "false", ""][random.integers(0, 3)],
                f"2024-01-{1 + number % 28:02d}T{number % 24:02d}:30:00" if number % 5 else "",
                "yes" if ill else "no",
            ]
        )
    return as_csv(lines)


@dataclass(frozen=True)
class Trained:
    """Folders of a training set and of a candidate trained on it, as the stages write them."""

    training_set: Path
    candidate: Path
    features: list[str]

    def parts(self, **changes: Any) -> Parts:
        """What a bundle is made of."""
        relation = "read_parquet('/where/dbt/read.parquet')"
        given: dict[str, Any] = {
            "use_case": TINY,
            "contract": TINY_CONTRACT,
            "features_sql": portable(
                TINY_SQL.format(relation=relation),
                relation,
                [c.name for c in TINY_CONTRACT.columns],
            ),
            "features": self.features,
            "threshold": 0.4,
            "training_set": self.training_set,
            "candidate": self.candidate,
            "lineage": {"training_set": "a" * 64, "algorithm": "logistic_regression"},
            "provenance": {"run": "one", "created_at": "2026-01-01T00:00:00+00:00"},
        }
        return Parts(**{**given, **changes})


def train_tiny(folder: Path, rows: int = 200) -> Trained:
    """From a CSV file to a trained candidate, by the real functions and without dbt."""
    folder.mkdir()
    batch = validated(TINY_CONTRACT, tiny_csv(rows), folder)
    assert batch.found.quarantined == 0
    with duckdb.connect() as database:
        database.execute(f"create view valid as from '{folder / 'valid.parquet'}'")
        database.execute(
            f"copy ({TINY_SQL.format(relation='valid')}) to '{folder / 'features.parquet'}'"
        )
    source = Source("k", folder / "features.parquet", folder / "valid.parquet")
    summary = assemble([source], TINY_CONTRACT, Holdout(), folder)
    table = pl.read_parquet(folder / ROWS)
    features = table.select(summary.features).to_numpy().astype(np.float32)
    seen = (table["side"] == "train").to_numpy()
    target = table["target"].to_numpy().astype(np.float64)
    trained = train("logistic_regression", features[seen], target[seen], QUICK)
    candidate = folder / "candidate"
    candidate.mkdir()
    (candidate / "model.onnx").write_bytes(convert(trained.estimator, features.shape[1]))
    table.select(
        "row_id",
        "side",
        "target",
        pl.Series("probability", trained.estimator.predict_proba(features)[:, 1]),
    ).write_parquet(candidate / "predictions.parquet")
    return Trained(folder, candidate, summary.features)
