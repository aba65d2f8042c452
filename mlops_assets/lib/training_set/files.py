"""The files of a training set, and of what it is made: their names and columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROWS = "rows.parquet"
INPUTS = "inputs.parquet"
KEYS = ("row_id", "batch", "side", "target")
# There where folds need them: a number for what is never on two sides, and the event time.
GROUP, TIME = "group", "event_time"
RESERVED = frozenset({*KEYS, GROUP, TIME})


@dataclass(frozen=True)
class Source:
    """The files of one accepted batch.

    Attributes:
        landed: When it landed, UTC, without a time zone; no event of it is later.
    """

    key: str
    features: Path
    validated: Path
    landed: datetime | None = None
