"""How two distributions of a category differ: chi-squared, Jensen-Shannon, stability index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.lib.drift.sides import Column, Pair, identifier
from mlops_assets.lib.drift.stability import stability_index

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

# Values that are told apart, the most common first; the rest are one.
MOST_VALUES = 200
# Cochran's rule for the approximation by chi-squared.
EXPECTED = 5.0


@dataclass(frozen=True)
class Shares:
    """The values of a category on both sides, the most common first.

    Attributes:
        values: As text.
        reference: Rows of each value, shape (V,), and those of the values not named at the end.
        current: The same.
        missing: Rows without a value, of the reference and of the current rows.
    """

    values: list[str]
    reference: NDArray[np.int64]
    current: NDArray[np.int64]
    missing: tuple[int, int]


@dataclass(frozen=True)
class Difference:
    """The figures of a category with values on both sides.

    Attributes:
        statistic: Chi-squared of the table of value and side, small expected counts pooled.
        degrees: Its degrees of freedom.
        p_value: Of the statistic.
        jensen_shannon: Distance (the root of the divergence, natural logarithm), 0 to 0.83.
        stability_index: Over the values.
        new: Values that the reference does not have, and their share of the current ones.
    """

    statistic: float
    degrees: int
    p_value: float
    jensen_shannon: float
    stability_index: float
    new: Mapping[str, float]


def shares(database: duckdb.DuckDBPyConnection, pair: Pair, column: Column, type_: str) -> Shares:
    """Count the values of a column by DuckDB, which spills where there are very many.

    Args:
        database: To run on.
        pair: What to read.
        column: Of the pair; both sides have it.
        type_: Of the column in the reference; values of the other side become such first, so that
            ``1`` and ``1.0`` are one category.
    """
    import numpy as np

    def counted(relation: str, name: str) -> str:
        value = f"try_cast({identifier(name)} as {type_})::varchar"
        return f"select {value} as value, count(*) as n from {relation} group by all"

    rows = database.execute(
        f"""
        with counted as (
            select coalesce(r.value, c.value) as value, coalesce(r.n, 0) as r, coalesce(c.n, 0) as c
            from ({counted(pair.reference, column.reference)}) r
            full join ({counted(pair.current, column.current)}) c
                on r.value is not distinct from c.value
        ),
        ranked as (
            select *, value is not null
                and row_number() over (order by value is null, r + c desc, value) <= {MOST_VALUES}
                as named
            from counted
        )
        select case when named then value end, value is null, sum(r)::bigint, sum(c)::bigint
        from ranked group by all order by sum(r + c) desc, 1
        """
    ).fetchall()
    missing = next(((r, c) for _, absent, r, c in rows if absent), (0, 0))
    named = [(value, r, c) for value, _, r, c in rows if value is not None]
    rest = next(((r, c) for value, absent, r, c in rows if value is None and not absent), (0, 0))
    reference = np.array([r for _, r, _ in named] + [rest[0]], dtype=np.int64)
    current = np.array([c for _, _, c in named] + [rest[1]], dtype=np.int64)
    return Shares([value for value, _, _ in named], reference, current, missing)


def difference(found: Shares) -> Difference:
    """Compare the two sides of a category. Both have a value."""
    from scipy.stats import chi2

    statistic, degrees = chi_squared(found.reference, found.current)
    total = int(found.current.sum())
    return Difference(
        statistic=statistic,
        degrees=degrees,
        p_value=float(chi2.sf(statistic, degrees)) if degrees else 1.0,
        jensen_shannon=jensen_shannon(found.reference, found.current),
        stability_index=stability_index(found.reference, found.current),
        new={
            value: int(c) / total
            for value, r, c in zip(found.values, found.reference, found.current, strict=False)
            if not r
        },
    )


def chi_squared(reference: NDArray[np.int64], current: NDArray[np.int64]) -> tuple[float, int]:
    """Pearson's chi-squared of two samples, without a correction.

    Values of which fewer than five are expected on a side become one; if these are still too few,
    they join the rarest of the others.

    Returns:
        The statistic and its degrees of freedom: 0 where one value is all that is left.
    """
    import numpy as np

    table = np.stack([reference, current]).astype(float)
    table = table[:, table.sum(axis=0) > 0]
    smaller = table.sum(axis=1).min() / table.sum()
    rare = table.sum(axis=0) * smaller < EXPECTED
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
        if table.shape[1] > 1 and table[:, -1].sum() * smaller < EXPECTED:
            rarest = table[:, :-1].sum(axis=0).argmin()
            table[:, rarest] += table[:, -1]
            table = table[:, :-1]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1


def jensen_shannon(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """The Jensen-Shannon distance of two samples of a category."""
    import numpy as np
    from scipy.special import rel_entr

    r, c = reference / reference.sum(), current / current.sum()
    middle = (r + c) / 2
    return float(np.sqrt(max(rel_entr(r, middle).sum() + rel_entr(c, middle).sum(), 0) / 2))
