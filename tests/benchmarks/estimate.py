"""How far the estimate without labels is from what the labels show, with and without drift.

``python -m tests.benchmarks.estimate`` prints the tables of ``docs/monitoring.md``. Two models are
trained on customers of the churn generator by the plan of the use case, logistic regression and
gradient boosting, and answer days of other customers. Covariate shift moves the customers alone:
their prices, contracts and usage are those of a drifted world, and who leaves is drawn by the
causes of the training. Concept shift moves the causes alone; the generator's own is mild, so in the
last world the odds of leaving are three times what they were, for the same customers.
"""

import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from mlops_assets.lib.evaluation.metrics import metrics
from mlops_assets.lib.features.dbt_project import PROJECT_DIR, file_relation, model_name
from mlops_assets.lib.performance.estimate import estimate
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.training_plan import Algorithm
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.synthetic import ChurnOptions
from mlops_assets.lib.synthetic.churn import blocks, log_odds
from mlops_assets.lib.synthetic.churn_columns import CONTRACTS, INTERNET
from mlops_assets.lib.training.train import train
from tests.benchmarks.churn import training_set

Floats = NDArray[np.float64]
ALGORITHMS: tuple[Algorithm, ...] = ("logistic_regression", "gradient_boosting")
DAYS, ROWS = 20, 2_000
SHOWN = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier_score")
# How far the customers are from those of the training, how far the causes, and the odds by which
# they leave, as a multiple.
WORLDS = {
    "nothing": (0.0, 0.0, 1.0),
    "customers by half (covariate shift)": (0.5, 0.0, 1.0),
    "customers in full (covariate shift)": (1.0, 0.0, 1.0),
    "causes in full (concept shift)": (0.0, 1.0, 1.0),
    "both in full": (1.0, 1.0, 1.0),
    "odds three times as high (concept shift)": (0.0, 0.0, 3.0),
}


def features(spec: UseCase, frame: pl.DataFrame, folder: Path) -> pd.DataFrame:
    """The feature SQL on customers, in their order."""
    file = folder / "valid.parquet"
    keyed = frame.with_columns(row_id=pl.int_range(pl.len()).cast(pl.String).str.zfill(9))
    keyed.write_parquet(file)
    name = model_name(spec.name)
    sql = (PROJECT_DIR / "models" / spec.name / f"{name}.sql").read_text(encoding="utf-8")
    sql = sql.replace(f"{{{{ source('{spec.name}', 'validated') }}}}", file_relation(file))
    with duckdb.connect() as database:
        return database.execute(f"select * from ({sql}) order by row_id").df()


def leaving(frame: pl.DataFrame, drift: float) -> Floats:
    """The probability of leaving, by the causes of a world."""
    columns = {
        name: frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name, kind in frame.schema.items()
        if kind.is_numeric()
    }
    columns["security_addon"] = frame["security_addon"].to_numpy()
    for name, values in (("contract_type", CONTRACTS), ("internet_service", INTERNET)):
        columns[name] = frame[name].replace_strict({v: n for n, v in enumerate(values)}).to_numpy()
    columns["streaming_addon"] = frame["streaming_addon"].to_numpy()
    return 1 / (1 + np.exp(-log_odds(columns, drift)))


def main() -> None:
    """Print a table a model, and the cost of an estimate."""
    spec = load_spec("churn")
    threshold = spec.decision.threshold
    with tempfile.TemporaryDirectory() as scratch:
        rows, summary = training_set(spec, Path(scratch))
        table, target = rows[summary.features].to_numpy(np.float32), rows["target"].to_numpy()
        models = {name: train(name, table, target, spec.training, {}) for name in ALGORITHMS}
        days = []
        for world, (customers, causes, odds) in WORLDS.items():
            for day in range(DAYS):
                options = ChurnOptions(rows=ROWS, seed=1_000 + day, drift=customers)
                (block,) = blocks(options)
                asked = features(spec, block.frame, Path(scratch))[summary.features]
                chance = leaving(block.frame, causes)
                if customers == causes:
                    assert np.allclose(chance, block.probability)
                chance = odds * chance / (1 + (odds - 1) * chance)
                left = np.random.default_rng([day, 7]).random(ROWS) < chance
                days.append((world, asked.to_numpy(np.float32), left.astype(np.float64)))
    for name, model in models.items():
        print(f"\n{name}, threshold {threshold:.3f}, {DAYS} days of {ROWS:,} answers each\n")
        print("| moved | " + " | ".join(SHOWN) + " | accuracy in the interval |")
        print("| --- |" + " --- |" * (len(SHOWN) + 1))
        for world in WORLDS:
            errors: dict[str, list[float]] = {metric: [] for metric in SHOWN}
            held = 0
            for other, answered, truth in days:
                if other != world:
                    continue
                score = model.estimator.predict_proba(answered)[:, 1].astype(np.float64)
                real = metrics(truth, score, threshold, np.ones((1, ROWS)))
                found = estimate(score, threshold, seed=spec.training.seed)
                for metric in SHOWN:
                    errors[metric].append(found[metric].value - float(real[metric][0]))
                accuracy = found["accuracy"]
                held += accuracy.low <= real["accuracy"][0] <= accuracy.high
            cells = [f"{np.mean(e):+.3f} ({np.abs(e).mean():.3f})" for e in errors.values()]
            print(f"| {world} | " + " | ".join(cells) + f" | {held} of {DAYS} |", flush=True)
    print()
    for count in (10_000, 1_000_000):
        score = np.random.default_rng(1).beta(0.6, 2.4, size=count)
        wall, cpu = time.perf_counter(), time.process_time()
        estimate(score, threshold, seed=1)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"an estimate of {count:,} answers: {wall:.1f} s, {cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
