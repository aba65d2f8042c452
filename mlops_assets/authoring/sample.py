"""The sample of a draft: its rows as text, its outcome, and the columns that a person named."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.authoring.columns import Look, look
from mlops_assets.authoring.names import in_words, to_name
from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW
from mlops_assets.lib.reading.table import read_table

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

# Enough to see what a column is.
MOST_ROWS = 200_000


class DraftError(ValueError):
    """The sample is none to draft a use case from; the message says why."""


def read(sample: Path) -> tuple[pl.DataFrame, bool, list[str]]:
    """The first rows of a sample as text, and what there is to say about it."""
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        table = read_table(sample, Path(folder) / "sample.parquet")
        rows = pl.read_parquet(Path(folder) / "sample.parquet", n_rows=MOST_ROWS)
    remarks = []
    if table.rows > MOST_ROWS:
        remarks.append(f"only the first {MOST_ROWS:,} of {table.rows:,} rows were looked at")
    malformed = rows[MALFORMED].is_not_null().sum()
    if malformed:
        remarks.append(f"{malformed:,} lines do not fit the header, and would go to quarantine")
    rows = rows.filter(pl.col(MALFORMED).is_null()).drop(MALFORMED)
    if rows.is_empty():
        raise DraftError(f"{sample.name} has a header and no rows")
    return rows, table.delimiter != ",", remarks


def header_of(option: str, header: str, columns: list[str]) -> str:
    """The column of the sample that a person has named; small differences in writing are none."""
    wanted = normalise_header(header)
    if wanted in columns:
        return wanted
    alike = [name for name in columns if to_name(name) == to_name(wanted)]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(name for name in columns if name != ROW)
    raise DraftError(f"{option} {header!r} is no column of the sample; there are: {shown}")


def outcome_of(
    header: str, rows: pl.DataFrame, positive: str | None
) -> tuple[Target, NDArray[Any]]:
    """The target with its classes, and 1 or 0 for each row."""
    seen = look(header, rows[header], decimal_comma=False)
    absent = seen.texts.is_null()
    if absent.any():
        first = rows[ROW][absent.arg_true()[0]]
        raise DraftError(
            f"target {header!r} has no value in {absent.sum():,} of {rows.height:,} rows, first in "
            f"row {first}: a row to learn from needs its outcome; leave such rows out of the sample"
        )
    counts = {str(v): int(n) for v, n in seen.texts.value_counts(sort=True, name="n").iter_rows()}
    if len(counts) != 2:
        shown = ", ".join(f"{value!r} ({n:,})" for value, n in list(counts.items())[:5])
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        raise DraftError(
            f"target {header!r} must have two classes and has {len(counts):,}: {shown}{more}"
        )
    # The rarer; of two that are as frequent, the later one: 1 after 0, yes after no.
    chosen = min(counts, key=lambda value: (counts[value], -sorted(counts).index(value)))
    if positive is not None and positive not in counts:
        raise DraftError(
            f"--positive {positive!r} is no value of {header!r}; it has {', '.join(sorted(counts))}"
        )
    chosen = chosen if positive is None else positive
    (other,) = counts.keys() - {chosen}
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", text) and str(int(text)) == text for text in counts)
    name = to_name(header)
    target = Target.model_validate(
        {
            "column": name,
            "header": None if name == header else header,
            "positive": int(chosen) if whole else chosen,
            "negative": int(other) if whole else other,
            "positive_label": "yes" if whole else chosen,
            "negative_label": "no" if whole else other,
            "description": in_words(header),
        }
    )
    return target, (seen.texts == chosen).to_numpy().astype("int64")


def check_given(
    option: str, header: str | None, looks: list[Look], rows: pl.DataFrame, kind: str | None
) -> None:
    """What a person named must be there in every row."""
    if header is None:
        return
    seen = next((one for one in looks if one.header == header), None)
    if seen is None:
        raise DraftError(f"{option} {header!r} is the target")
    if seen.texts.null_count():
        first = rows[ROW][seen.texts.is_null().arg_true()[0]]
        raise DraftError(f"{option} {header!r} has no value in row {first}")
    if kind is not None and seen.kind != kind:
        raise DraftError(
            f"{option} {header!r} is no column of ISO 8601 times: row {rows[ROW][0]} has "
            f"{seen.texts[0]!r}"
        )
