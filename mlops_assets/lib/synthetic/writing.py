"""Writing synthetic rows to a file, block by block, and breaking some of them on purpose."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlops_assets.lib.synthetic.churn import Block, ChurnOptions, blocks
from mlops_assets.lib.synthetic.reachable import BestAuc

if TYPE_CHECKING:
    import polars as pl

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
# Column and what a bad row has there: out of range, unknown, absent. None is an absent value.
FAULTS: list[tuple[str, int | float | str | None]] = [
    ("tenure_months", -3),
    ("monthly_charge", 99_999.0),
    ("phone_lines", 77),
    ("contract_type", "lifetime"),
    ("payment_method", None),
    ("days_late", None),
]
# A typed file cannot hold these.
BROKEN_TYPES: list[tuple[str, int | float | str | None]] = [
    ("support_calls_90d", "many"),
    ("monthly_charge", "49.90 EUR"),
    ("snapshot_at", "31/02/2025"),
    ("security_addon", "perhaps"),
    ("churned", "unknown"),
]


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        rows: Rows of the file.
        bad_rows: Rows of it that break the contract.
        waiting: Customers left out because their outcome is not known yet.
        positives: Good rows of customers who left.
        scores: The true probabilities of the good rows, counted.
    """

    rows: int
    bad_rows: int
    waiting: int
    positives: int
    scores: BestAuc = field(compare=False)

    @property
    def best_auc(self) -> float:
        """The best ROC AUC that a model can reach on the good rows."""
        return self.scores.value()

    @property
    def base_rate(self) -> float:
        """Share of customers who left."""
        return self.positives / (self.rows - self.bad_rows)


def write(options: ChurnOptions, path: Path) -> Summary:
    """Write one file of customers: all of it or nothing.

    Args:
        options: What is drawn; the same give the same bytes.
        path: CSV (UTF-8, comma, header, ISO 8601 times) or Parquet, by ``options.format``. A file
            that is there is replaced.

    Raises:
        ValueError: If so few rows are good that the best ROC AUC is undefined.
        OSError: If the file cannot be written.
    """
    import numpy as np

    rows = bad = positives = 0
    best = BestAuc()
    with _whole(path) as handle:
        with _sink(options.format, handle) as put:
            for block in blocks(options):
                good = np.isnan(block.fault)
                put(block.frame if good.all() else _broken(block, options.format))
                rows += block.frame.height
                bad += int((~good).sum())
                positives += int((block.frame["churned"].to_numpy()[good] == "yes").sum())
                best.add(block.probability[good])
        if rows - bad < 2:
            raise ValueError(
                f"{rows - bad} good rows of {options.rows} customers: nothing to learn from; "
                "ask for more, or for fewer bad ones and a shorter label delay"
            )
        best.value()  # raises where nothing can be ranked; then nothing is written
    return Summary(rows, bad, options.rows - rows, positives, best)


def _broken(block: Block, file_format: str) -> pl.DataFrame:
    """A block with its bad rows broken; a CSV file takes the faults that no type can hold, too."""
    import numpy as np
    import polars as pl

    faults = FAULTS if file_format == "parquet" else FAULTS + BROKEN_TYPES
    chosen = np.where(np.isnan(block.fault), -1, block.fault * len(faults)).astype(np.int64)
    frame = block.frame
    if file_format == "csv":
        frame = frame.with_columns(pl.col("snapshot_at").dt.strftime(TIME_FORMAT)).with_columns(
            pl.all().cast(pl.String)
        )
    changed = {name: pl.col(name) for name, _ in faults}
    number = pl.lit(pl.Series("fault", chosen))
    for index, (name, value) in enumerate(faults):
        landed = str(value) if file_format == "csv" and value is not None else value
        broken = pl.lit(landed, frame.schema[name])
        changed[name] = pl.when(number == index).then(broken).otherwise(changed[name])
    return frame.with_columns(**changed)


@contextmanager
def _sink(file_format: str, handle: IO[bytes]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """What takes one frame after the other, and ends the file."""
    if file_format == "csv":

        def put(frame: pl.DataFrame) -> None:
            first = handle.tell() == 0
            frame.write_csv(handle, include_header=first, datetime_format=TIME_FORMAT)

        yield put
        return
    import pyarrow.parquet as pq

    writer = None

    def append(frame: pl.DataFrame) -> None:
        nonlocal writer
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(handle, table.schema, compression="zstd")
        writer.write_table(table)

    yield append
    if writer is not None:
        writer.close()


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is complete; the landing place leaves hidden ones alone."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
