"""The figures of every column of a window, before anything is decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift import categories, numbers
from mlops_assets.lib.drift.discovery import two_shares
from mlops_assets.lib.drift.grid import Grid, grids
from mlops_assets.lib.drift.sides import Column, Kind, Pair, types

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Measured:
    """What is known of a column.

    Attributes:
        name: Of the column.
        kind: Features are shown and decide nothing.
        missing: Share of rows without a value: in the reference, and now.
        missing_p: Of their difference; None where nothing is missing.
        test: Which test of the distribution; None where there was none to make.
        p_value: Of that test.
        figures: Statistic and effects, by name.
        effects: Those that ``MinimumEffect`` has a limit for, by its name.
        new: Values of a category that the reference does not have, and their share.
        note: Why there is no test.
    """

    name: str
    kind: Kind
    missing: tuple[float, float]
    missing_p: float | None = None
    test: str | None = None
    p_value: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, float] = field(default_factory=dict)
    new: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


def measure(
    database: duckdb.DuckDBPyConnection, pairs: Sequence[Pair], minimum_rows: int
) -> tuple[list[Measured], list[str]]:
    """Measure every column that both sides have.

    Args:
        database: To run on.
        pairs: What is compared.
        minimum_rows: A column with fewer values on a side has no test of its distribution.

    Returns:
        The figures, and in words what could not be compared.
    """
    found: list[Measured] = []
    left_out: list[str] = []
    for pair in pairs:
        there = types(database, pair.reference), types(database, pair.current)
        both = []
        for column in pair.columns:
            if column.reference not in there[0]:
                left_out.append(f"the reference has no {column.kind} {column.name}")
            elif column.current not in there[1]:
                left_out.append(f"the rows have no {column.kind} {column.name}")
            else:
                both.append(column)
        numeric = [column for column in both if column.numeric]
        counted = zip(numeric, grids(database, pair, numeric), strict=True)
        found += [_number(column, grid, minimum_rows) for column, grid in counted]
        for column in both:
            if not column.numeric:
                type_ = there[0][column.reference]
                found.append(_category(database, pair, column, type_, minimum_rows))
    return found, left_out


def _number(column: Column, grid: Grid, minimum_rows: int) -> Measured:
    reference, current = grid.reference, grid.current
    values = (reference.values, current.values)
    about = missing_figures(column, values, (reference.missing, current.missing))
    note = too_few(values, minimum_rows)
    if note is None and len(grid.points) == 1:
        note = "it has one value, and had no other"
    if note is not None:
        return Measured(**about, note=note)
    found = numbers.difference(grid)
    effects = {"stability_index": found.stability_index}
    if found.shift is not None:
        effects["shift"] = found.shift
    figures = {
        "statistic": found.statistic,
        "statistic_error": found.statistic_error,
        "wasserstein": found.wasserstein,
        "reference_mean": reference.mean,
        "current_mean": current.mean,
        **effects,
    }
    return Measured(**about, test="KS", p_value=found.p_value, figures=figures, effects=effects)


def _category(
    database: duckdb.DuckDBPyConnection,
    pair: Pair,
    column: Column,
    type_: str,
    minimum_rows: int,
) -> Measured:
    return category(column, categories.shares(database, pair, column, type_), minimum_rows)


def category(column: Column, found: categories.Shares, minimum_rows: int) -> Measured:
    """The figures of a category whose values are counted."""
    values = (int(found.reference.sum()), int(found.current.sum()))
    about = missing_figures(column, values, found.missing)
    note = too_few(values, minimum_rows)
    if note is not None:
        return Measured(**about, note=note)
    apart = categories.difference(found)
    if not apart.degrees:
        return Measured(**about, note="all but a few rows have one value, and had no other")
    effects = {
        "stability_index": apart.stability_index,
        "jensen_shannon": apart.jensen_shannon,
    }
    figures = {"statistic": apart.statistic, "degrees": float(apart.degrees), **effects}
    return Measured(
        **about,
        test="chi-squared",
        p_value=apart.p_value,
        figures=figures,
        effects=effects,
        new=apart.new,
    )


def missing_figures(
    column: Column, values: tuple[int, int], missing: tuple[int, int]
) -> dict[str, Any]:
    """What is said of every column: its name, and what it lacks."""
    rows = [some + none for some, none in zip(values, missing, strict=True)]
    return {
        "name": column.name,
        "kind": column.kind,
        "missing": (missing[0] / rows[0], missing[1] / rows[1]),
        "missing_p": two_shares((missing[0], rows[0]), (missing[1], rows[1]))
        if any(missing)
        else None,
    }


def too_few(values: tuple[int, int], minimum_rows: int) -> str | None:
    """Why there are not enough values on a side; None if there are."""

    def said() -> Iterator[str]:
        for side, some in zip(("the reference has", "there are"), values, strict=True):
            if some < minimum_rows:
                yield f"{side} {some or 'no'} values"

    return ", ".join(said()) or None
