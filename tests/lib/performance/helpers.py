"""A prediction log that is written by hand, in the columns of the serving app's."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from mlops_assets.lib.storage.root import Storage

CASE = "heart_disease"


def ids(day: str, rows: int, first: int = 0) -> list[str]:
    """Ids of the answers of a day: 32 hexadecimal characters."""
    return [f"{day.replace('-', '')}{number:024x}" for number in range(first, first + rows)]


def served(
    store: Storage,
    day: str,
    rows: int = 300,
    *,
    role: str = "champion",
    version: str = "1",
    bundle: str = "b" * 64,
    entities: Sequence[str] | None = None,
    name: str = "worker-1",
) -> pl.DataFrame:
    """Write answers of a day; those of another role have the ids of the champion's."""
    score = np.random.default_rng(5).beta(1, 1, size=rows)
    start = datetime.fromisoformat(f"{day}T08:00:00")
    frame = pl.DataFrame(
        {
            "prediction_id": ids(day, rows),
            "time": [start + timedelta(seconds=n) for n in range(rows)],
            "role": role,
            "version": version,
            "digest": bundle,
            "entity_id": pl.Series(entities or [None] * rows, dtype=pl.String),
            "probability": score,
            "threshold": 0.5,
            "positive_class": "1",
            "input__sex": pl.Series([n % 2 for n in range(rows)]),
        }
    )
    write(store, "served", day, name, frame)
    return frame


def told(
    store: Storage,
    day: str,
    about: Sequence[str],
    labels: Sequence[str],
    *,
    hour: int = 12,
    name: str = "worker-1",
) -> None:
    """Write labels that were told on a day."""
    time = datetime.fromisoformat(f"{day}T{hour:02}:00:00")
    frame = pl.DataFrame(
        {"prediction_id": about, "label": labels, "time": [time] * len(about)},
        schema={"prediction_id": pl.String, "label": pl.String, "time": pl.Datetime("us")},
    )
    write(store, "feedback", day, name, frame)


def write(store: Storage, kind: str, day: str, name: str, frame: pl.DataFrame) -> Path:
    file = Path(store.root) / CASE / kind / f"day={day}" / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(file)
    return file


def outcomes(frame: pl.DataFrame) -> list[str]:
    """Labels as calibrated scores have them."""
    drawn = np.random.default_rng(6).random(frame.height)
    return ["1" if d < p else "0" for d, p in zip(drawn, frame["probability"], strict=True)]
