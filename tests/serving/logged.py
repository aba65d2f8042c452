"""Prediction logs for tests, and what they have brought to the storage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from serving.prediction_log.log import PredictionLog
from serving.prediction_log.streams import Predictions
from serving.settings import Settings
from tests.benchmarks.prediction_log import FEATURES as WIDTH
from tests.benchmarks.prediction_log import INPUTS, stream
from tests.serving.bundles import USE_CASE
from tests.serving.server import wait_until

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
STREAM = stream()


def make_root(root: Path) -> Path:
    """A storage root that is not empty: what serves lies there before anything is answered."""
    (root / "heart").mkdir(parents=True, exist_ok=True)
    return root


def make(tmp_path: Path, root: str | Path | None = None, **options: Any) -> PredictionLog:
    root = root or make_root(tmp_path / "storage")
    given = {"log_roll_seconds": 0.2, **options}
    return PredictionLog(
        Settings(
            use_cases=("heart", USE_CASE),
            storage_root=str(root),
            log_spool=str(tmp_path / "spool"),
            **given,
        )
    )


def add(
    log: PredictionLog,
    ids: Sequence[str],
    when: float = NOON,
    who: Predictions = STREAM,
    size: int = 0,
) -> None:
    n = len(ids)
    features = np.full((n, WIDTH), 0.1, np.float32)
    rows = [INPUTS] * n
    log.append(who, when, ids, ids, rows, features, np.full(n, 0.7), [f"e{i}" for i in ids], size)


def names(first: int, count: int) -> list[str]:
    return [f"p{number}" for number in range(first, first + count)]


def read(root: Path | str, kind: str = "served", what: str = "*") -> list[dict[str, Any]]:
    with duckdb.connect() as database:
        found = database.execute(
            f"SELECT {what} FROM read_parquet('{root}/*/{kind}/*/*.parquet', "
            "union_by_name = true, hive_partitioning = true) ORDER BY ALL"
        )
        columns = [column[0] for column in found.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def ids_in(root: Path | str) -> list[str]:
    return [row["prediction_id"] for row in read(root, what="prediction_id")]


def segments(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


def wait_for_records(log: PredictionLog, count: int) -> bool:
    wait_until(lambda: log.stored == count, f"{count} records")
    return log.stop()
