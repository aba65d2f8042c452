"""Validation: rows that keep the contract go on, the others are kept with the reasons.

pandera judges, lazily, so that every failure of a row is known at once. Rows are read in chunks,
and only those that break something are ever looked at one by one. Rows that repeat others are found
by DuckDB among the valid ones, within a limit of memory, and taken out afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.reading.table import MALFORMED, ROW
from mlops_assets.lib.reading.table import REASONS as REASONS
from mlops_assets.lib.validation.repeats import FIRST, repeats
from serving.bundle.values import InvalidValueError, convert

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 200_000
REPEATED_ROW = "repeats an earlier row of the batch"
REPEATED_KEY = "repeats the key of an earlier row"
# Ways of writing "nothing here" that spreadsheets and statistics packages use.
ABSENT = ["", "NA", "N/A", "na", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-"]
# The times of which every reader has the same opinion; those of leap seconds are not among them.
DAY = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})-\d{2}-\d{2}"
PLAIN_TIMES = {
    f"^{DAY}$": "%Y-%m-%d",
    f"^{DAY}T[0-2]\\d:[0-5]\\d:[0-5]\\d$": "%Y-%m-%dT%H:%M:%S",
    f"^{DAY} [0-2]\\d:[0-5]\\d:[0-5]\\d$": "%Y-%m-%d %H:%M:%S",
}


@dataclass
class Validation:
    """What was found in a batch.

    Attributes:
        rows: Rows that landed.
        valid: Rows that keep the contract.
        quarantined: Rows kept aside.
        duplicates: Rows of the batch that repeat an earlier one.
        repeated_keys: Other rows that repeat the key of an earlier one.
        unknown: Values that are none of the allowed ones, by column.
        newest: The latest event time of a valid row.
        missing: Share of absent values among valid rows, by column.
        reasons: How often each kind of failure came up, by column.
        examples: The first failure of each kind, in words.
        positives: Valid rows of the positive class.
    """

    rows: int = 0
    valid: int = 0
    duplicates: int = 0
    repeated_keys: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    newest: datetime | None = None
    missing: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    positives: int = 0

    def note(self, reasons: Iterable[str]) -> None:
        """Count reasons by their kind, and keep the first of each."""
        for reason in reasons:
            self.reasons[_kind(reason)] += 1
            self.examples.setdefault(_kind(reason), reason)

    @property
    def quarantined(self) -> int:
        return self.rows - self.valid

    @property
    def positive_rate(self) -> float:
        return self.positives / self.valid if self.valid else 0.0

    @property
    def quality(self) -> float:
        """0 to 100: 100 x (share of rows valid) x (1 - mean share missing over the columns)."""
        if not self.rows or not self.missing:
            return 0.0
        complete = 1 - sum(self.missing.values()) / len(self.missing)
        return round(100 * (self.valid / self.rows) * complete, 2)


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
    with _Parquet(valid) as good, _Parquet(quarantine) as bad:
        for text in _chunks(raw):
            typed = text.select(ROW, *(_typed(c, delimiter) for c in contract.every_column))
            reasons = _broken(contract, text, typed, result)
            broken = pl.Series(sorted(reasons), dtype=pl.UInt32)
            said = [reasons[index] for index in broken]
            kept = typed.filter(~pl.int_range(typed.height).is_in(broken.implode()))
            good.write(_published(contract, kept, batch))
            flags = pl.Series(REASONS, ["; ".join(found) for found in said], pl.String)
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
        with _Parquet(good_path) as good, pq.ParquetFile(valid) as file:
            for chunk in file.iter_batches(batch_size=CHUNK_ROWS):
                rows = pl.DataFrame(pl.from_arrow(chunk))
                is_twin = rows.select(number)[ROW].is_in(twins[ROW].implode())
                _count(contract, rows.filter(is_twin), result, absent, -1)
                good.write(rows.filter(~is_twin))
        kept_aside = pl.scan_parquet(quarantine, glob=False)
        with _Parquet(bad_path) as bad:
            for text in _chunks(raw):
                if text.is_empty():
                    continue
                here = pl.col(ROW).is_between(text[ROW][0], text[ROW][-1])
                repeated = text.join(twins.filter(here).drop(FIRST), on=ROW)
                bad.write(pl.concat([kept_aside.filter(here).collect(), repeated]).sort(ROW))
                result.note(repeated[REASONS])
        shutil.move(good_path, valid)
        shutil.move(bad_path, quarantine)
    result.repeated_keys = twins[FIRST].count()
    result.duplicates = twins.height - result.repeated_keys


def _kind(reason: str) -> str:
    """What a reason is counted by: the column, or what is wrong with the whole row."""
    return "malformed line" if reason.startswith("line ") else reason.split(":")[0]


def _absent(column: Column) -> list[str]:
    """The texts that are read as absent. A value that the contract allows is none of them.

    In a text column only an empty one is: a request may say "None", and means it.
    """
    if column.type == "text":
        return ["", *map(str, column.missing_values)]
    allowed = {str(value) for value in column.allowed or ()}
    missing = [str(value) for value in column.missing_values]
    return [text for text in ABSENT if text not in allowed] + missing


def _typed(column: Column, delimiter: str) -> pl.Expr:
    """Text to the contract's type; what cannot be read becomes null and is found later."""
    import polars as pl

    text = pl.col(column.landed_name)
    text = pl.when(text.is_in(_absent(column))).then(None).otherwise(text)
    if column.duckdb_type in ("BIGINT", "DOUBLE"):
        if delimiter != ",":
            text = text.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2")
        number = text.cast(pl.Float64, strict=False)
        number = pl.when(number.is_finite()).then(number).otherwise(None)
        numeric_missing = [float(v) for v in column.missing_values if isinstance(v, int | float)]
        number = pl.when(number.is_in(numeric_missing)).then(None).otherwise(number)
        if column.duckdb_type == "DOUBLE":
            # -0.0 equals 0.0 and must be the same bytes: rows are told apart by their hash.
            return pl.when(number == 0).then(0.0).otherwise(number).alias(column.name)
        whole = pl.when(number == number.round()).then(number).otherwise(None)
        # Not through a float where it can be helped: above 2^53 that is another number.
        exact = pl.when(whole.is_not_null()).then(text.cast(pl.Int64, strict=False))
        return pl.coalesce(exact, whole.cast(pl.Int64, strict=False)).alias(column.name)
    if column.duckdb_type == "BOOLEAN":
        lower = text.str.to_lowercase()
        return (
            pl.when(lower.is_in(["true", "t", "yes", "y", "1"]))
            .then(True)
            .when(lower.is_in(["false", "f", "no", "n", "0"]))
            .then(False)
            .otherwise(None)
            .alias(column.name)
        )
    if column.duckdb_type == "TIMESTAMP":
        return text.map_batches(_times, return_dtype=pl.Datetime("us")).alias(column.name)
    return text.alias(column.name)


def _times(texts: pl.Series) -> pl.Series:
    """ISO 8601 to UTC by the reader of the serving app: a format is never guessed from the data.

    The plainest texts, of which it says the same, are read in bulk.
    """
    import polars as pl

    def read(text: str) -> datetime | None:
        try:
            return datetime.fromisoformat(convert("timestamp", text))
        except InvalidValueError:
            return None

    column = pl.col(texts.name)
    times = texts.to_frame().select(
        pl.coalesce(
            pl.when(column.str.contains(pattern))
            .then(column)
            .str.to_datetime(written, time_unit="us", strict=False)
            for pattern, written in PLAIN_TIMES.items()
        )
    )[texts.name]
    left = (times.is_null() & texts.is_not_null()).arg_true()
    if left.is_empty():
        return times
    return times.scatter(left, [read(text) for text in texts[left]])


def _broken(
    contract: Contract, text: pl.DataFrame, typed: pl.DataFrame, result: Validation
) -> dict[int, list[str]]:
    """Every reason for which rows break the contract, by the index of the row."""
    reasons: dict[int, list[str]] = {
        index: [text[MALFORMED][index]] for index in text[MALFORMED].is_not_null().arg_true()
    }
    malformed = set(reasons)
    unreadable: set[tuple[int, str]] = set()
    for column in contract.every_column:
        landed = text[column.landed_name]
        numeric_missing = {float(v) for v in column.missing_values if isinstance(v, int | float)}
        unread = typed[column.name].is_null() & landed.is_not_null()
        if unread.any():
            unread &= ~landed.is_in(_absent(column))
        for index in unread.arg_true():
            value = landed[index]
            if numeric_missing and _number(value) in numeric_missing:
                continue
            what = column.type if column.allowed is None else "known code"
            said = f"{column.name}: {value[:60]!r} is not a{_n(what)} {what}"
            reasons.setdefault(index, []).append(said)
            unreadable.add((index, column.name))
            if column.allowed is not None:
                result.unknown[column.name] = result.unknown.get(column.name, 0) + 1
    by_name = {column.name: column for column in contract.every_column}
    for name, index, case in _failure_cases(contract, typed):
        if index in malformed or (index, name) in unreadable:
            continue
        reasons.setdefault(index, []).append(by_name[name].broken(case))
        if case is not None and by_name[name].allowed is not None:
            result.unknown[name] = result.unknown.get(name, 0) + 1
    return reasons


def _n(word: str) -> str:
    return "n" if word[0] in "aeiou" else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _failure_cases(contract: Contract, typed: pl.DataFrame) -> list[tuple[str, int, Any]]:
    """Ask pandera: column, row and value of every failure."""
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {c.name: pa.Column(None, _checks(c), nullable=c.nullable) for c in contract.every_column}
    )
    try:
        schema.validate(typed, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].null_count():
            raise  # a failure of no row is a mistake of ours, and no row may pass on it
        return [
            (name, index, None if check == "not_nullable" else typed[name][index])
            for name, index, check in cases.select("column", "index", "check").iter_rows()
        ]
    return []


def _checks(column: Column) -> list[Any]:
    import pandera.polars as pa

    checks = []
    if column.minimum is not None:
        checks.append(pa.Check.ge(column.minimum))
    if column.maximum is not None:
        checks.append(pa.Check.le(column.maximum))
    if column.allowed is not None:
        checks.append(pa.Check.isin(column.allowed))
    return checks


class _Parquet:
    """Appends frames to one Parquet file; the first frame gives the schema."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def __enter__(self) -> _Parquet:
        return self

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        table = frame.to_arrow()
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self.writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
