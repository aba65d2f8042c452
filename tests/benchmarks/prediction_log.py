"""The prediction log: what a record costs the thread that answers, and all threads together.

Records as those of heart disease: 13 inputs, 28 features. Both figures are CPU seconds, which other
processes disturb least: of the calls, and of every other thread from the first call to the last
Parquet file (encoding, writing, fsync, DuckDB).

    python -m tests.benchmarks.prediction_log [RECORDS]
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from serving.prediction_log.log import PredictionLog
from serving.prediction_log.streams import Predictions
from serving.settings import Settings

RECORDS = 200_000
BATCHES = (1, 8, 32)
INPUTS = {
    "age": 63, "sex": 1, "cp": 3, "trestbps": 145, "chol": 233, "fbs": 1, "restecg": 0,
    "thalach": 150, "exang": 0, "oldpeak": 2.3, "slope": 0, "ca": None, "thal": 1,
}  # fmt: skip
FEATURES = 28
CALL_MICROSECONDS, BACKGROUND_MICROSECONDS = 2.0, 10.0


def stream() -> Predictions:
    """What a bundle of heart disease answers."""
    types = tuple((name, "DOUBLE" if name == "oldpeak" else "BIGINT") for name in INPUTS)
    names = tuple(f"feature_{number}" for number in range(FEATURES))
    classes = ("0", "1")
    return Predictions("heart", "dev", "champion", "1", "a" * 64, 0.5, classes, types, names)


def measure(root: Path, records: int, batch: int) -> tuple[float, float, int]:
    """Microseconds a record of the call, of all other threads, and the bytes of the files."""
    (root / "storage" / "heart").mkdir(
        parents=True
    )  # an empty one is taken for a mount that is gone
    settings = Settings(
        use_cases=("heart",), storage_root=str(root / "storage"), log_spool=str(root / "spool")
    )
    log, who, random = PredictionLog(settings), stream(), np.random.default_rng(0)
    features = random.normal(size=(batch, FEATURES)).astype(np.float32)
    features[:, 10:] = features[:, 10:].round()  # counts and flags
    probabilities = random.random(batch)
    prepared: list[tuple[list[str], list[dict[str, Any]]]] = [
        ([os.urandom(16).hex() for _ in range(batch)], [dict(INPUTS) for _ in range(batch)])
        for _ in range(records // batch)
    ]
    log.start()
    begun, own, calls = time.process_time(), time.thread_time(), 0.0
    for start in range(0, len(prepared), 1024 // batch):
        started = time.thread_time()
        for ids, rows in prepared[start : start + 1024 // batch]:
            log.append(who, 1.8e9, ids, ids, rows, features, probabilities, size=300 * batch)
        calls += time.thread_time() - started
        while log.backlog().queued > 10_000:
            time.sleep(0.01)
    assert log.stop(120)
    others = time.process_time() - begun - (time.thread_time() - own)
    assert log.stored == len(prepared) * batch
    assert not log.dropped
    size = sum(path.stat().st_size for path in root.rglob("*.parquet"))
    return calls / log.stored * 1e6, others / log.stored * 1e6, size


def main() -> None:
    """Print the figures for several sizes of a batch."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    print(f"{records:,} records, {len(INPUTS)} inputs, {FEATURES} features")
    for batch in BATCHES:
        with tempfile.TemporaryDirectory() as folder:
            call, others, size = measure(Path(folder), records, batch)
        print(
            f"batches of {batch:2}: {call:5.2f} µs a record in the call "
            f"(at most {CALL_MICROSECONDS:g}), {others:5.2f} µs in the background "
            f"(at most {BACKGROUND_MICROSECONDS:g}: {1e6 / others:,.0f} records/s), "
            f"{size / records:.0f} bytes a record stored",
            flush=True,
        )


if __name__ == "__main__":
    main()
