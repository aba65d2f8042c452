"""Comparing with the profile in a bundle, where the rows that it was made of are gone.

``reference.json`` holds nine quantiles of a number: too few for a distribution, since between two
of them anything may be. Its means and deviations are those of all rows, and so are its shares: so
numbers are compared by their means, and categories and missing values as they are with rows. Its
scores are those of rows that the model was fitted on; they are compared with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift.categories import Shares
from mlops_assets.lib.drift.measure import Measured, category, missing_figures, too_few
from mlops_assets.lib.drift.sides import Column, count, identifier, types

if TYPE_CHECKING:
    import duckdb


def measure_means(
    database: duckdb.DuckDBPyConnection,
    profile: Mapping[str, Any],
    current: str,
    columns: Sequence[Column],
    minimum_rows: int,
) -> tuple[list[Measured], list[str]]:
    """Measure every column that the profile and the current rows have.

    Args:
        database: To run on.
        profile: The content of ``reference.json``.
        current: Relation of the current rows.
        columns: What is compared.
        minimum_rows: A column with fewer values has no test of its distribution.

    Returns:
        The figures, and in words what could not be compared.
    """
    there, rows = types(database, current), count(database, current)
    found: list[Measured] = []
    left_out = ["the scores are not compared: the rows of the version's training are gone"]
    for column in columns:
        known = profile["columns"].get(column.reference)
        if known is None:
            left_out.append(f"the reference has no {column.kind} {column.name}")
        elif column.current not in there:
            left_out.append(f"the rows have no {column.kind} {column.name}")
        else:
            measured = _means if "mean" in known else _shares
            sizes = (profile["rows"], rows)
            found.append(measured(database, known, current, column, sizes, minimum_rows))
    return found, left_out


def _present(known: Mapping[str, Any], rows: int) -> int:
    return round(rows * (1 - float(known["missing"])))


def _means(
    database: duckdb.DuckDBPyConnection,
    known: Mapping[str, Any],
    current: str,
    column: Column,
    rows: tuple[int, int],
    minimum_rows: int,
) -> Measured:
    """Welch's test of two means ("The generalization of Student's problem", 1947)."""
    from scipy.stats import ttest_ind_from_stats

    value = f"try_cast({identifier(column.current)} as double)"
    row = database.execute(
        f"select count(v), avg(v), stddev_samp(v) from (select {value} as v from {current}) "
        "where isfinite(v)"
    ).fetchone()
    assert row is not None
    values = (_present(known, rows[0]), row[0])
    about = missing_figures(column, values, (rows[0] - values[0], rows[1] - values[1]))
    note = too_few(values, minimum_rows)
    if note is None and not known["deviation"]:
        note = "the profile knows it as a constant"
    if note is not None:
        return Measured(**about, note=note)
    sample = known["deviation"] * (values[0] / (values[0] - 1)) ** 0.5
    test = ttest_ind_from_stats(
        known["mean"], sample, values[0], row[1], row[2], values[1], equal_var=False
    )
    effects = {"shift": abs(row[1] - known["mean"]) / known["deviation"]}
    return Measured(
        **about,
        test="Welch",
        p_value=float(test.pvalue),
        figures={
            "statistic": float(test.statistic),
            "reference_mean": known["mean"],
            "current_mean": row[1],
            **effects,
        },
        effects=effects,
    )


def _shares(
    database: duckdb.DuckDBPyConnection,
    known: Mapping[str, Any],
    current: str,
    column: Column,
    rows: tuple[int, int],
    minimum_rows: int,
) -> Measured:
    """The shares of the profile are counts, since it says how many rows there were."""
    import numpy as np

    counted = dict(
        database.execute(
            f"select {identifier(column.current)}::varchar, count(*) from {current} group by 1"
        ).fetchall()
    )
    missing = counted.pop(None, 0)
    present = _present(known, rows[0])
    before = {value: round(share * rows[0]) for value, share in known["shares"].items()}
    # What the profile does not name may be among its rest, and so is no new value.
    rest = max(present - sum(before.values()), 0)
    names = [*before, *(() if rest else sorted(counted.keys() - before.keys()))]
    reference = [*(before.get(name, 0) for name in names), rest]
    now = [counted.get(name, 0) for name in names]
    found = Shares(
        names,
        np.array(reference, dtype=np.int64),
        np.array([*now, rows[1] - missing - sum(now)], dtype=np.int64),
        (rows[0] - present, missing),
    )
    return category(column, found, minimum_rows)
