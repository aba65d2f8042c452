"""Validation: rows that keep the contract go on, the others are kept with the reasons.

Rows are read in chunks, and only those that break something are ever looked at one by one. Rows
that repeat others are found by DuckDB among the valid ones, within a limit of memory, and taken out
afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.parquet import FrameWriter
from mlops_assets.lib.reading.raw_table import REASONS, ROW
from mlops_assets.lib.validation.reasons import broken_rows
from mlops_assets.lib.validation.repeats import FIRST, repeats
from mlops_assets.lib.validation.result import Reason, Validation
from mlops_assets.lib.validation.values import typed_column

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 200_000
REPEATED_ROW = "repeats an earlier row of the batch"
REPEATED_KEY = "repeats the key of an earlier row"


def missing_columns(contract: Contract, found: list[str]) -> list[str]:
    """The contract's columns that a landed file does not have, as its header would name them."""
    wanted = [column.landed_name for column in contract.every_column]
    return [name for name in wanted if name not in found]


def validate(
    contract: Contract, raw: Path, valid: Path, quarantine: Path, *, batch: str, delimiter: str
) -> Validation:
    """Split a raw batch into valid and quarantined rows.

    Args:
        contract: What a row must keep.
        raw: Parquet of text, as ``reading.read_table`` writes it; every column is there.
        valid: Written: ``row_id`` and the contract's columns, typed.
        quarantine: Written: the row's number and text as landed, and ``_reasons``.
        batch: Prefix of the row ids.
        delimiter: Of the landed file; a comma in a number is a decimal comma unless it delimits.

    Returns:
        The counts.
    """
    import polars as pl

    result = Validation()
    absent: Counter[str] = Counter()
    with FrameWriter(valid) as good, FrameWriter(quarantine) as bad:
        for text in _chunks(raw):
            typed = text.select(ROW, *(typed_column(c, delimiter) for c in contract.every_column))
            reasons = broken_rows(contract, text, typed, result)
            broken = pl.Series(sorted(reasons), dtype=pl.UInt32)
            said = [reasons[index] for index in broken]
            kept = typed.filter(~pl.int_range(typed.height).is_in(broken.implode()))
            good.write(_published(contract, kept, batch))
            joined = ["; ".join(reason.said for reason in found) for found in said]
            flags = pl.Series(REASONS, joined, pl.String)
            bad.write(text[broken].with_columns(flags))
            result.rows += text.height
            result.note(chain.from_iterable(said))
            _count(contract, kept, result, absent)
    twins = repeats(contract, valid, batch)
    if not twins.is_empty():
        _take_out(contract, twins, raw, valid, quarantine, result, absent)
    result.missing = {name: absent[name] / max(result.valid, 1) for name in absent}
    return result


def _chunks(raw: Path) -> Iterator[pl.DataFrame]:
    """A raw batch in chunks of text; an empty last one, so that there is a schema at least."""
    import polars as pl
    import pyarrow.parquet as pq

    with pq.ParquetFile(raw) as file:
        for chunk in file.iter_batches(batch_size=CHUNK_ROWS):
            yield pl.DataFrame(pl.from_arrow(chunk))
        yield pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table()))


def _published(contract: Contract, rows: pl.DataFrame, batch: str) -> pl.DataFrame:
    import polars as pl

    return rows.select(
        pl.format("{}-{}", pl.lit(batch), ROW).alias("row_id"),
        *(column.name for column in contract.every_column),
    )


def _count(
    contract: Contract,
    rows: pl.DataFrame,
    result: Validation,
    absent: Counter[str],
    sign: int = 1,
) -> None:
    """Add rows to the counts of the valid ones, or take them off again."""
    import polars as pl

    target = contract.target.as_column()
    positive = rows[target.name].cast(pl.String).eq(str(contract.target.positive)).sum()
    result.valid += sign * rows.height
    result.positives += sign * int(positive)
    for column in contract.every_column:
        absent[column.name] += sign * rows[column.name].null_count()
    if contract.event_time is not None:
        times = [result.newest, rows[contract.event_time].max()]
        result.newest = max((t for t in times if isinstance(t, datetime)), default=None)


def _take_out(
    contract: Contract,
    twins: pl.DataFrame,
    raw: Path,
    valid: Path,
    quarantine: Path,
    result: Validation,
    absent: Counter[str],
) -> None:
    """Move the rows that repeat others from the valid ones to the quarantine, in their place."""
    import polars as pl
    import pyarrow.parquet as pq

    twins = twins.with_columns(
        pl.when(pl.col(FIRST).is_null())
        .then(pl.lit(REPEATED_ROW))
        .otherwise(
            pl.format(
                "{}: row {} ({})", pl.lit(REPEATED_KEY), FIRST, pl.lit(", ".join(contract.key))
            )
        )
        .alias(REASONS)
    )
    number = pl.col("row_id").str.extract(r"(\d+)$").cast(pl.Int64).alias(ROW)
    with tempfile.TemporaryDirectory() as scratch:
        good_path, bad_path = Path(scratch) / "good", Path(scratch) / "bad"
        with FrameWriter(good_path) as good, pq.ParquetFile(valid) as file:
            for chunk in file.iter_batches(batch_size=CHUNK_ROWS):
                rows = pl.DataFrame(pl.from_arrow(chunk))
                is_twin = rows.select(number)[ROW].is_in(twins[ROW].implode())
                _count(contract, rows.filter(is_twin), result, absent, -1)
                good.write(rows.filter(~is_twin))
        kept_aside = pl.scan_parquet(quarantine, glob=False)
        with FrameWriter(bad_path) as bad:
            for text in _chunks(raw):
                if text.is_empty():
                    continue
                here = pl.col(ROW).is_between(text[ROW][0], text[ROW][-1])
                repeated = text.join(twins.filter(here).drop(FIRST), on=ROW)
                bad.write(pl.concat([kept_aside.filter(here).collect(), repeated]).sort(ROW))
                result.note(Reason(r.split(":")[0], r) for r in repeated[REASONS])
        shutil.move(good_path, valid)
        shutil.move(bad_path, quarantine)
    result.repeated_keys = twins[FIRST].count()
    result.duplicates = twins.height - result.repeated_keys
