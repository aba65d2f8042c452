"""Cleveland: nested cross-validation of all 303 rows, beside what is published, and ONNX parity."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from mlops_assets.lib.evaluation.intervals import with_intervals
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.training_plan import STACK, Algorithm
from mlops_assets.lib.training.onnx_model import convert, predictor
from mlops_assets.lib.training.train import Chosen, train
from tests.platform import DATA, HEART, platform


def main() -> None:
    """Print a line a candidate."""
    with tempfile.TemporaryDirectory() as scratch, platform(Path(scratch)) as made:
        key = made.land(DATA / "heart_cleveland.csv")
        assert made.ingest(key).success
        pointers = {s: made.batches.pointer(key, s) or {} for s in ("features", "validated")}
        features = pd.read_parquet(made.store.local(pointers["features"]["file"]))
        validated = pd.read_parquet(made.store.local(pointers["validated"]["file"]))
        rows = features.merge(validated[["row_id", made.spec.contract.target.column]], on="row_id")
        plan = load_spec(HEART).training
        names = [name for name in features.columns if name != "row_id"]
        table = rows[names].to_numpy(np.float32)
        target = rows[made.spec.contract.target.column].to_numpy(np.float64)
    print(f"{HEART}: {len(target)} rows, {plan.outer_folds} outer folds, {plan.trials} trials each")
    print("published: accuracy 0.81 to 0.87, ROC AUC about 0.90")
    chosen: dict[Algorithm, Chosen] = {}
    for algorithm in plan.candidates:
        wall, cpu = time.perf_counter(), time.process_time()
        trained = train(algorithm, table, target, plan, chosen)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if algorithm != STACK:
            chosen[algorithm] = trained.chosen
        scores = with_intervals(target, trained.out_of_fold, 0.5, seed=plan.seed)
        onnx = predictor(convert(trained.estimator, table.shape[1]))(table)
        gap = np.abs(onnx - trained.estimator.predict_proba(table)[:, 1]).max()
        print(
            f"{algorithm:<20} ROC AUC {scores['roc_auc']}, accuracy {scores['accuracy']}, "
            f"ONNX against scikit-learn {gap:.1e}, "
            f"{wall:.1f} s, {cpu:.1f} s of CPU"
        )


if __name__ == "__main__":
    main()
