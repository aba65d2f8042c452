"""What one column of a sample seems to be: its type, and the values that say "not recorded".

Types are guessed here, once, for a person to correct. Nothing is guessed from data later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlops_assets.lib.validation.values import ABSENT
from serving.bundle.values import InvalidValueError, convert

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["integer", "number", "category", "boolean", "text", "timestamp", "constant", "empty"]
# More values than these are no list that a person would check.
MOST_CATEGORIES = 30
LONGEST_CATEGORY = 60
# Numbers that programs write for "not recorded".
SENTINELS = (-999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)
TRUE = {"true", "t", "yes", "y"}
FALSE = {"false", "f", "no", "n"}


@dataclass(frozen=True)
class Look:
    """A column of the sample as it seems to be.

    Attributes:
        header: As in the file.
        kind: Its type; ``constant`` has one value, ``empty`` none.
        texts: What is there, stripped; null where nothing is recorded.
        numbers: The same as numbers, for an integer or a number.
        missing_values: Values of the file that seem to say "not recorded", beside the usual ones.
        absent: Of the usual ways to say so, those that the file has.
        notes: What a person should know.
    """

    header: str
    kind: Kind
    texts: pl.Series
    numbers: pl.Series | None = None
    missing_values: list[float | int | str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def missing(self) -> float:
        """Share of rows without a value."""
        return self.texts.null_count() / max(self.texts.len(), 1)

    @property
    def distinct(self) -> int:
        """Number of different values."""
        return self.texts.drop_nulls().n_unique()

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value of its own."""
        return not self.missing and self.distinct == self.texts.len()


def look(header: str, landed: pl.Series, *, decimal_comma: bool) -> Look:
    """Look at a column.

    Args:
        header: Its name in the file.
        landed: Its text, null for an empty cell.
        decimal_comma: Whether ``1,5`` may be a number: a comma does not part the file's cells.
    """
    texts = landed.str.strip_chars()
    is_absent = texts.is_in(ABSENT).fill_null(False)
    absent = sorted(set(texts.filter(is_absent)) - {""})
    texts = _without(texts, is_absent)
    present = texts.drop_nulls()
    if present.is_empty():
        return Look(header, "empty", texts, absent=absent)
    numbers = _numbers(texts, decimal_comma=decimal_comma)
    strange = present.filter(_numbers(present, decimal_comma=decimal_comma).is_null())
    stand_ins: list[float | int | str] = []
    few = strange.n_unique() <= 3 and strange.len() <= 0.1 * present.len()
    if strange.len() and few and present.len() - strange.len() >= 20:
        stand_ins = sorted(set(strange))
        texts = _without(texts, texts.is_in(stand_ins).fill_null(False))
        strange = strange.clear()
    if strange.is_empty():
        return _numeric(header, texts, numbers, stand_ins, absent)
    kind: Kind = "text"
    lowered = set(present.str.to_lowercase().unique())
    distinct = present.n_unique()
    if distinct == 1:
        kind = "constant"
    elif distinct == 2 and len(lowered & TRUE) == len(lowered & FALSE) == 1:
        kind = "boolean"
    elif _are_times(present):
        kind = "timestamp"
    elif (
        distinct <= MOST_CATEGORIES
        and distinct <= max(present.len() / 5, 2)
        and present.str.len_chars().max() <= LONGEST_CATEGORY  # type: ignore[operator]
    ):
        kind = "category"
    notes = []
    if kind == "category" and absent:
        notes.append(f"{', '.join(absent)} is read as missing; list it if it is a value")
    dates = present.str.contains(r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}").mean()
    if kind == "text" and isinstance(dates, float) and dates > 0.9:
        notes.append("dates that are not ISO 8601 (2026-01-31), which alone is read as a time")
    return Look(header, kind, texts, absent=absent, notes=notes)


def _without(texts: pl.Series, mask: pl.Series) -> pl.Series:
    import polars as pl

    return pl.select(pl.when(mask).then(None).otherwise(texts)).to_series().rename(texts.name)


def _numbers(texts: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Text as finite numbers; a code with leading zeros, such as a postal code, is none."""
    import polars as pl

    if decimal_comma:
        texts = texts.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2")
    numbers = texts.cast(pl.Float64, strict=False)
    coded = texts.str.contains(r"^[+-]?0\d").fill_null(False)
    return _without(numbers, coded | ~numbers.is_finite().fill_null(False))


def _numeric(
    header: str,
    texts: pl.Series,
    numbers: pl.Series,
    stand_ins: list[float | int | str],
    absent: list[str],
) -> Look:
    notes = []
    sentinels = _sentinels(numbers)
    if sentinels:
        mask = numbers.is_in(sentinels).fill_null(False)
        texts, numbers = _without(texts, mask), _without(numbers, mask)
        notes.append(f"{', '.join(f'{v:g}' for v in sentinels)} seems to say: not recorded")
        stand_ins = [*stand_ins, *(int(value) for value in sentinels)]
    present = numbers.drop_nulls()
    whole = bool((present == present.round()).all()) and bool((present.abs() < 2**62).all())
    kind: Kind = "integer" if whole else "number"
    if present.n_unique() == 1:
        kind = "constant"
    elif whole and present.n_unique() == 2:
        kind = "category"
    elif whole and present.n_unique() <= 8:
        notes.append("few whole numbers: if they are codes and no amounts, make it a category")
    return Look(header, kind, texts, numbers, stand_ins, absent, notes)


def _sentinels(numbers: pl.Series) -> list[float]:
    """Values such as -999 that come up again and again, far from all others."""
    found = []
    for value in SENTINELS:
        count = (numbers == value).sum()
        others = numbers.filter(numbers != value).drop_nulls()
        if count < 2 or others.n_unique() < 3:
            continue
        low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]
        if value < low - 3 * (high - low) or value > high + 3 * (high - low):
            found.append(value)
    return found


def _are_times(present: pl.Series) -> bool:
    def is_time(text: str) -> bool:
        try:
            convert("timestamp", text)
        except InvalidValueError:
            return False
        return True

    return is_time(present[0]) and all(map(is_time, present.unique()))


def bounds(numbers: pl.Series, *, whole: bool) -> tuple[float, float]:
    """A range with room around the values of a sample, in round numbers.

    A quarter of the spread is added at each end: the limits are for mistakes, not for the unusual.
    What is never negative in the sample is not allowed to be.
    """
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if not whole and low >= 0 and 0.9 < high <= 1:
        return 0.0, 1.0
    spread = high - low
    exponent = math.floor(math.log10(spread / 10))
    if whole:
        exponent = max(exponent, 0)
    step = 10.0**exponent
    least = math.floor((low - spread / 4) / step) * step
    most = math.ceil((high + spread / 4) / step) * step
    if low >= 0:
        least = max(least, 0.0)
    digits = max(-exponent, 0)
    return round(least, digits), round(most, digits)
