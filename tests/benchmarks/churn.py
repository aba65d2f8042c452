"""Churn: the plan of the use case on generated customers, beside the best ROC AUC there is.

The customers go through the real functions: reading, validation, the feature SQL, training set,
candidates. Both scores are of the same test rows. Then the generator alone, at growing size.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from mlops_assets.lib.evaluation.intervals import with_intervals
from mlops_assets.lib.features.dbt_project import PROJECT_DIR, file_relation, model_name
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.training_plan import STACK, Algorithm
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.synthetic import ChurnOptions, write
from mlops_assets.lib.synthetic.churn import blocks
from mlops_assets.lib.synthetic.reachable import best_auc
from mlops_assets.lib.training.onnx_model import convert, predictor
from mlops_assets.lib.training.train import Chosen, train
from mlops_assets.lib.training_set.assemble import Summary, assemble
from mlops_assets.lib.training_set.files import ROWS, Source
from tests.lib.helpers import validated

OPTIONS = ChurnOptions(rows=10_000, seed=1)
SIZES = (10_000, 1_000_000, 10_000_000)
GENERATE = """
import sys, time
from pathlib import Path
from mlops_assets.lib.synthetic import ChurnOptions, write
wall, cpu = time.perf_counter(), time.process_time()
found = write(ChurnOptions(rows=int(sys.argv[1])), Path(sys.argv[2]))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# Not ru_maxrss, which starts at what the process that started this one had.
(peak,) = [n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmHWM")]
print(
    f"{found.rows:>10} rows: {wall:.1f} s, {cpu:.1f} s of CPU, "
    f"{int(peak.split()[1]) / 1024:.0f} MiB at most, best ROC AUC {found.best_auc:.4f}"
)
"""


def training_set(spec: UseCase, folder: Path) -> tuple[pd.DataFrame, Summary]:
    """Customers as the training set has them, with their true probability of leaving."""
    write(OPTIONS, folder / "churn.csv")
    batch = validated(spec.contract, (folder / "churn.csv").read_text(encoding="utf-8"), folder)
    assert batch.found.valid == OPTIONS.rows
    valid, features = folder / "valid.parquet", folder / "features.parquet"
    name = model_name(spec.name)
    sql = (PROJECT_DIR / "models" / spec.name / f"{name}.sql").read_text(encoding="utf-8")
    sql = sql.replace(f"{{{{ source('{spec.name}', 'validated') }}}}", file_relation(valid))
    with duckdb.connect() as database:
        database.execute(f"copy ({sql}) to '{features}' (format parquet)")
    summary = assemble([Source("b", features, valid)], spec.contract, spec.split, folder)
    customers = batch.valid.select("row_id", "customer_id").to_pandas()
    truth = pd.concat(
        block.frame.select("customer_id").to_pandas().assign(truth=block.probability)
        for block in blocks(OPTIONS)
    )
    rows = pd.read_parquet(folder / ROWS).merge(customers, on="row_id")
    return rows.merge(truth, on="customer_id"), summary


def main() -> None:
    """Print a line a candidate, and a line a size of the generator."""
    spec = load_spec("churn")
    plan = spec.training
    with tempfile.TemporaryDirectory() as scratch:
        rows, summary = training_set(spec, Path(scratch))
    table = rows[summary.features].to_numpy(np.float32)
    target = rows["target"].to_numpy(np.float64)
    seen = (rows["side"] == "train").to_numpy()
    truth = rows["truth"].to_numpy()
    realised = with_intervals(target[~seen], truth[~seen], 0.5, seed=plan.seed)["roc_auc"]
    print(f"{spec.name}: {summary.train} rows to train on, {summary.test} to test on")
    print(f"best reachable ROC AUC: {best_auc(truth):.4f} of such customers, ", end="")
    print(f"{best_auc(truth[~seen]):.4f} of the test rows, {realised} with their outcomes")
    chosen: dict[Algorithm, Chosen] = {}
    for algorithm in plan.candidates:
        wall, cpu = time.perf_counter(), time.process_time()
        trained = train(algorithm, table[seen], target[seen], plan, chosen)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if algorithm != STACK:
            chosen[algorithm] = trained.chosen
        scores = predictor(convert(trained.estimator, table.shape[1]))(table)
        gap = np.abs(scores - trained.estimator.predict_proba(table)[:, 1]).max()
        fold = with_intervals(
            target[seen], trained.out_of_fold, spec.decision.threshold, seed=plan.seed
        )
        test = with_intervals(target[~seen], scores[~seen], spec.decision.threshold, seed=plan.seed)
        print(
            f"{algorithm:<20} ROC AUC {test['roc_auc']} on the test rows, "
            f"{fold['roc_auc']} out of fold, "
            f"PR AUC {fold['pr_auc'].value:.3f}, recall {fold['recall'].value:.3f}, "
            f"calibration error {fold['calibration_error'].value:.3f}, "
            f"weights {trained.chosen.parameters.get('class_weight')}, "
            f"ONNX against scikit-learn {gap:.1e}, {wall:.1f} s, {cpu:.1f} s of CPU",
            flush=True,
        )
    print("generating:")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-c", GENERATE, str(size), str(Path(scratch) / "churn.csv")]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
