"""From text as it landed to the types of the contract.

What cannot be read becomes null, and is told from what was absent afterwards.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.column import Column
from serving.bundle.values import InvalidValueError, convert

if TYPE_CHECKING:
    import polars as pl

# Ways of writing "nothing here" that spreadsheets and statistics packages use.
ABSENT = ["", "NA", "N/A", "na", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-"]
# The times of which every reader has the same opinion; those of leap seconds are not among them.
DAY = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})-\d{2}-\d{2}"
PLAIN_TIMES = {
    f"^{DAY}$": "%Y-%m-%d",
    f"^{DAY}T[0-2]\\d:[0-5]\\d:[0-5]\\d$": "%Y-%m-%dT%H:%M:%S",
    f"^{DAY} [0-2]\\d:[0-5]\\d:[0-5]\\d$": "%Y-%m-%d %H:%M:%S",
}


def absent_texts(column: Column) -> list[str]:
    """The texts that are read as absent. A value that the contract allows is none of them.

    In a text column only an empty one is: a request may say "None", and means it.
    """
    if column.type == "text":
        return ["", *map(str, column.missing_values)]
    allowed = {str(value) for value in column.allowed or ()}
    missing = [str(value) for value in column.missing_values]
    return [text for text in ABSENT if text not in allowed] + missing


def typed_column(column: Column, delimiter: str) -> pl.Expr:
    """Text to the contract's type; what cannot be read becomes null and is found later."""
    import polars as pl

    text = pl.col(column.landed_name)
    text = pl.when(text.is_in(absent_texts(column))).then(None).otherwise(text)
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
