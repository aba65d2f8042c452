"""Batch scores: rows a second of the platform, beside scikit-learn's ``predict_proba``.

One model (trained on Cleveland), one set of rows (Cleveland's, drawn again and again). scikit-learn
gets finished features in memory and writes nothing; the platform reads valid rows, computes the
features by SQL, runs the ONNX model and writes the scores. In turn, in the same run, each with
every core that it can use; the memory is the peak of the platform's own process.

    python -m tests.benchmarks.scoring [ROWS] [ALGORITHM]
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mlops_assets.lib.bundles import bundle
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.training.onnx_model import convert
from mlops_assets.lib.training.train import train
from mlops_assets.lib.training_set.assemble import assemble
from mlops_assets.lib.training_set.files import ROWS, Source
from tests.platform import DATA, HEART, Platform, platform

COUNT = 10_000_000
ALGORITHM = "xgboost"
GROUP_ROWS = 200_000  # as `validated` writes them
ROUNDS = 2
LIMIT_GIB = 2


def prepare(made: Platform, algorithm: Any, rows: int) -> tuple[Any, list[str], str]:
    """Write a bundle, valid rows and their features; give the estimator behind the bundle."""
    key, contract, plan = made.land(DATA / "heart_cleveland.csv"), made.spec.contract, made.spec
    assert made.ingest(key).success
    stages = {stage: made.batches.pointer(key, stage) or {} for stage in ("features", "validated")}
    paths = {stage: made.store.local(pointer["file"]) for stage, pointer in stages.items()}
    folder = made.home / "candidate"
    folder.mkdir()
    names = assemble(
        [Source(key, paths["features"], paths["validated"])], contract, plan.split, folder
    ).features
    table = pd.read_parquet(folder / ROWS)
    features = table[names].to_numpy(np.float32)
    estimator: Any = train(
        algorithm, features, table["target"].to_numpy(np.float64), plan.training
    ).estimator
    (folder / "model.onnx").write_bytes(convert(estimator, len(names)))
    scored = table[["row_id", "side", "target"]].copy()
    scored["probability"] = estimator.predict_proba(features)[:, 1]
    scored.to_parquet(folder / "predictions.parquet")
    columns = [column.name for column in contract.inputs]
    sql = portable(stages["features"]["sql"], stages["features"]["location"], columns)
    parts = bundle.Parts(HEART, contract, sql, names, 0.5, folder, folder, {}, {})
    digest = bundle.digest(bundle.write(parts, made.home / "bundle"))
    for stage, path in paths.items():
        with duckdb.connect() as database:
            database.execute(
                f"copy (select s.* from range({rows}) t(n) join (select *, row_number() over "
                f"(order by row_id) - 1 as i from read_parquet('{path}')) s "
                f"on s.i = n * 7919 % {len(table)}) to '{made.home / stage}.parquet' "
                f"(format parquet, row_group_size {GROUP_ROWS})"
            )
    return estimator, names, digest


def by_scikit_learn(estimator: Any, features: Path, names: list[str]) -> tuple[float, float]:
    """Seconds inside ``predict_proba``, and the sum of the probabilities."""
    seconds, total = 0.0, 0.0
    for batch in pq.ParquetFile(features).iter_batches(GROUP_ROWS, columns=names):
        matrix = batch.to_pandas()[names].to_numpy(np.float32)
        started = time.perf_counter()
        total += float(estimator.predict_proba(matrix)[:, 1].sum())
        seconds += time.perf_counter() - started
    return seconds, total


def by_platform(home: Path, digest: str, folder: str) -> tuple[int, float, float]:
    """Rows, seconds and peak memory in GiB; for a process of its own."""
    from mlops_assets.lib.bundles.scoring import score
    from mlops_assets.lib.storage.root import Storage
    from serving.bundle.loaded import Bundle

    started = time.perf_counter()
    loaded = Bundle.load(home / "bundle", digest, HEART)
    scores = score(loaded, "1", home / "validated.parquet", Storage(home), folder)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return scores.rows, seconds, peak


def main() -> None:
    """Print both sides, the ratio and the memory."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    algorithm = sys.argv[2] if len(sys.argv) > 2 else ALGORITHM
    with tempfile.TemporaryDirectory() as scratch, platform(Path(scratch)) as made:
        estimator, names, digest = prepare(made, algorithm, rows)
        print(f"{rows:,} rows, {len(names)} features, calibrated {algorithm}")
        for number in range(ROUNDS):
            theirs, total = by_scikit_learn(estimator, made.home / "features.parquet", names)
            folder = f"scores-{number}"
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                done, ours, gib = alone.submit(by_platform, made.home, digest, folder).result()
            with duckdb.connect() as database:
                query = f"select count(*), sum(probability) from '{made.home}/{folder}"
                found = database.execute(f"{query}/*.parquet'").fetchone()
            assert found is not None
            assert found[0] == done == rows
            assert abs(found[1] - total) <= 1e-5 * rows
            print(
                f"scikit-learn, predict_proba alone    {rows / theirs:12,.0f} rows/s\n"
                f"platform, valid rows to scores       {rows / ours:12,.0f} rows/s, "
                f"{theirs / ours:.2f} times as many; "
                f"peak {gib:.2f} GiB (at most {LIMIT_GIB})",
                flush=True,
            )


if __name__ == "__main__":
    main()
