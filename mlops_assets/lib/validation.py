"""Validation: rows that keep the contract go on, the others are kept with the reasons.

pandera judges, lazily, so that every failure of a row is known at once. Rows are read in chunks: of
the batch as a whole only a fingerprint of 16 bytes a row is kept, to find duplicates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract import Column, Contract
from mlops_assets.lib.reading import MALFORMED, ROW
from mlops_assets.lib.reading import REASONS as REASONS
from serving.values import InvalidValueError, convert

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 200_000
# Ways of writing "nothing here" that spreadsheets and statistics packages use.
ABSENT = ["", "NA", "N/A", "na", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-"]


@dataclass
class Validation:
    """What was found in a batch.

    Attributes:
        rows: Rows that landed.
        valid: Rows that keep the contract.
        quarantined: Rows kept aside.
        duplicates: Rows of the batch that repeat an earlier one.
        missing: Share of absent values among valid rows, by column.
        reasons: How often each kind of failure came up, by column.
        examples: The first failure of each kind, in words.
        positives: Valid rows of the positive class.
    """

    rows: int = 0
    valid: int = 0
    duplicates: int = 0
    missing: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    positives: int = 0

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
        raw: Parquet of text, as ``reading.read_csv`` writes it, with every column of the contract.
        valid: Written: ``row_id`` and the contract's columns, typed.
        quarantine: Written: the row's number and text as landed, and ``_reasons``.
        batch: Prefix of the row ids.
        delimiter: Of the landed file; a comma in a number is a decimal comma unless it delimits.

    Returns:
        The counts.
    """
    import polars as pl
    import pyarrow.parquet as pq

    result = Validation()
    absent: Counter[str] = Counter()
    seen: set[bytes] = set()
    columns = contract.every_column
    with _Parquet(valid) as good, _Parquet(quarantine) as bad:
        chunks = pq.ParquetFile(raw).iter_batches(batch_size=CHUNK_ROWS)
        for chunk in chain(chunks, [pq.read_schema(raw).empty_table()]):
            text = pl.DataFrame(pl.from_arrow(chunk))
            typed = text.select(ROW, *(_typed(column, delimiter) for column in columns))
            reasons = _broken(contract, text, typed)
            if contract.duplicates == "quarantine":
                _find_duplicates(typed, reasons, seen, result)
            flags = pl.Series(REASONS, ["; ".join(found) or None for found in reasons], pl.String)
            kept = typed.filter(flags.is_null())
            good.write(
                kept.select(
                    pl.format("{}-{}", pl.lit(batch), ROW).alias("row_id"),
                    *(column.name for column in columns),
                )
            )
            bad.write(text.with_columns(flags).filter(flags.is_not_null()))
            result.rows += text.height
            result.valid += kept.height
            for reason in (reason for found in reasons for reason in found):
                result.reasons[_kind(reason)] += 1
                result.examples.setdefault(_kind(reason), reason)
            target = contract.target.as_column()
            result.positives += int(
                kept[target.name].cast(pl.String).eq(str(contract.target.positive)).sum()
            )
            for column in columns:
                absent[column.name] += kept[column.name].null_count()
    result.missing = {name: absent[name] / max(result.valid, 1) for name in absent}
    return result


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

    text = pl.col(column.landed_name).str.strip_chars()
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
    """ISO 8601 to UTC by the reader of the serving app: a format is never guessed from the data."""
    import polars as pl

    def read(text: str) -> datetime | None:
        try:
            return datetime.fromisoformat(convert("timestamp", text))
        except InvalidValueError:
            return None

    times = [None if text is None else read(text) for text in texts]
    return pl.Series(texts.name, times, pl.Datetime("us"))


def _broken(contract: Contract, text: pl.DataFrame, typed: pl.DataFrame) -> list[list[str]]:
    """Every reason for which each row breaks the contract."""
    reasons: list[list[str]] = [[] for _ in range(text.height)]
    for index, broken in enumerate(text[MALFORMED].to_list()):
        if broken is not None:
            reasons[index].append(broken)
    malformed = text[MALFORMED].is_not_null()
    for column in contract.every_column:
        landed = text[column.landed_name].str.strip_chars()
        numeric_missing = {float(v) for v in column.missing_values if isinstance(v, int | float)}
        unread = typed[column.name].is_null() & landed.is_not_null()
        unread &= ~landed.is_in(_absent(column))
        for index in unread.arg_true().to_list():
            value = landed[index]
            if numeric_missing and _number(value) in numeric_missing:
                continue
            what = column.type if column.allowed is None else "known code"
            reasons[index].append(f"{column.name}: {value[:60]!r} is not a{_n(what)} {what}")
    for name, index, case in _failure_cases(contract, typed):
        column = next(c for c in contract.every_column if c.name == name)
        if malformed[index] or any(reason.startswith(f"{name}: ") for reason in reasons[index]):
            continue
        reasons[index].append(column.broken(case))
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


def _find_duplicates(
    typed: pl.DataFrame, reasons: list[list[str]], seen: set[bytes], result: Validation
) -> None:
    """Mark rows that repeat an earlier valid row of the batch in every column."""
    for index, row in enumerate(typed.drop(ROW).iter_rows()):
        if reasons[index]:
            continue
        fingerprint = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
        if fingerprint in seen:
            reasons[index].append("repeats an earlier row of the batch")
            result.duplicates += 1
        seen.add(fingerprint)


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
