"""Counting numbers on a joint grid: what distributions are compared by, out of core.

The grid is a sorted list of points, of both sides. A side becomes the counts of ``2 P + 1`` cells
that alternate: below the first point, at it, between it and the next, at the next, and so on. At
the end of each cell both distribution functions are known exactly.

A side of at most ``FEW_ROWS`` rows puts every one of its values on the grid, so nothing of it lies
between points. A larger one puts ``LEVELS`` quantiles of a sample, its tails and the extremes
there; DuckDB then counts all of its rows in one scan, without a sort and in memory that does not
grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift.sides import Column, Pair, count, identifier

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

FEW_ROWS = 10_000
LEVELS, TAIL = 1_000, 50
# Columns of one scan: more would hold more of a row group in memory at once.
COLUMNS = 16


@dataclass(frozen=True)
class Cells:
    """The numbers of a column of one side.

    Attributes:
        counts: Values in each cell, shape (2 P + 1,).
        missing: Rows without a value.
        mean: Of the values; NaN where there is none.
        deviation: Standard deviation of the values (of a population); NaN where there is none.
    """

    counts: NDArray[np.int64]
    missing: int
    mean: float
    deviation: float

    @property
    def values(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class Grid:
    """A column of both sides.

    Attributes:
        points: Shape (P,), ascending, all different.
    """

    points: NDArray[np.float64]
    reference: Cells
    current: Cells


@dataclass(frozen=True)
class _Side:
    """What one scan knows of a side: its rows, and of each column the points it asks for."""

    relation: str
    rows: int
    names: list[str]
    seen: list[NDArray[np.float64]]

    @property
    def few(self) -> bool:
        return self.rows <= FEW_ROWS


def grids(
    database: duckdb.DuckDBPyConnection, pair: Pair, columns: Sequence[Column]
) -> Iterator[Grid]:
    """Count the numbers of some columns, a few columns at a time.

    Args:
        database: To run on.
        pair: What to read.
        columns: Of the pair; both sides have them. What is not a finite number counts as missing.

    Yields:
        A grid for each column, in their order.
    """
    import numpy as np

    rows = {relation: count(database, relation) for relation in (pair.reference, pair.current)}
    for first in range(0, len(columns), COLUMNS):
        some = columns[first : first + COLUMNS]
        reference = _look(database, pair.reference, rows, [c.reference for c in some])
        current = _look(database, pair.current, rows, [c.current for c in some])
        both = zip(reference.seen, current.seen, strict=True)
        points = [np.union1d(*(_points(seen) for seen in sides)) for sides in both]
        counted = (_cells(database, side, points) for side in (reference, current))
        for each in zip(points, *counted, strict=True):
            yield Grid(*each)


def _number(name: str) -> str:
    value = f"try_cast({identifier(name)} as double)"
    return f"case when isfinite({value}) then {value} end"


def _look(
    database: duckdb.DuckDBPyConnection, relation: str, rows: dict[str, int], names: list[str]
) -> _Side:
    """Read all of a small side, or a sample of a large one with its extremes."""
    import numpy as np

    total = rows[relation]
    values = ", ".join(f"{_number(name)} as v{n}" for n, name in enumerate(names))
    query = f"select {values} from {relation}"
    if total > FEW_ROWS:
        query = f"select * from ({query}) using sample reservoir({FEW_ROWS} rows) repeatable (7)"
    sample = database.execute(query).fetchnumpy()
    seen = [_finite(sample[f"v{n}"]) for n in range(len(names))]
    if total > FEW_ROWS:
        extremes = database.execute(
            f"select {', '.join(f'[min(v{n}), max(v{n})]' for n in range(len(names)))} "
            f"from (select {values} from {relation})"
        ).fetchone()
        assert extremes is not None
        ends = ([end for end in each if end is not None] for each in extremes)
        seen = [np.append(each, end) for each, end in zip(seen, ends, strict=True)]
    return _Side(relation, total, names, seen)


def _finite(values: Any) -> NDArray[np.float64]:
    """The values of a column as DuckDB gives them: with a mask where some are missing."""
    import numpy as np

    there = values.compressed() if isinstance(values, np.ma.MaskedArray) else values
    # -0.0 and 0.0 are one value; only their bits differ.
    return np.asarray(there, dtype=np.float64) + 0.0


def _points(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    ordered = np.sort(seen)
    # A sample and two extremes, or fewer.
    if len(ordered) > FEW_ROWS:
        levels = np.linspace(0, len(ordered) - 1, LEVELS).round().astype(int)
        # Tails are long and thin, and most of a distance may lie there.
        ordered = np.concatenate([ordered[:TAIL], ordered[levels], ordered[-TAIL:]])
    return np.unique(ordered)


def _cells(
    database: duckdb.DuckDBPyConnection, side: _Side, points: list[NDArray[np.float64]]
) -> list[Cells]:
    return (_count_here if side.few else _count_there)(database, side, points)


def _count_here(
    _: duckdb.DuckDBPyConnection, side: _Side, points: list[NDArray[np.float64]]
) -> list[Cells]:
    """A small side is in memory already, and all of its values are points."""
    import numpy as np

    found = []
    for seen, grid in zip(side.seen, points, strict=True):
        counts = np.zeros(2 * len(grid) + 1, dtype=np.int64)
        counts[1::2] = np.bincount(np.searchsorted(grid, seen), minlength=len(grid))
        mean, deviation = (seen.mean(), seen.std()) if len(seen) else (np.nan, np.nan)
        found.append(Cells(counts, side.rows - len(seen), float(mean), float(deviation)))
    return found


def _count_there(
    database: duckdb.DuckDBPyConnection, side: _Side, points: list[NDArray[np.float64]]
) -> list[Cells]:
    """DuckDB counts a large side: a bin ends at each point, and one right below it."""
    import numpy as np

    values = ", ".join(f"{_number(name)} as v{n}" for n, name in enumerate(side.names))
    asked, bins, cells = [], [], []
    for n, grid in enumerate(points):
        ends = np.column_stack([np.nextafter(grid, -np.inf), grid]).ravel()
        # Between two neighbours among the numbers there is nothing, nor a bin: that cell is empty.
        different, first = np.unique(ends, return_index=True)
        cells.append(first)
        # DuckDB asks for at least one bin.
        bins.append(different.tolist() or [0.0])
        asked.append(f"map_values(histogram(v{n}, ?::double[])), avg(v{n}), stddev_pop(v{n})")
    row = database.execute(
        f"select {', '.join(asked)} from (select {values} from {side.relation})", bins
    ).fetchone()
    assert row is not None
    found = []
    for n, grid in enumerate(points):
        counted, mean, deviation = row[3 * n : 3 * n + 3]
        counts = np.zeros(2 * len(grid) + 1, dtype=np.int64)
        if mean is not None:
            counts[cells[n]] = counted[: len(cells[n])]
        nothing = mean is None
        found.append(
            Cells(
                counts,
                side.rows - int(counts.sum()),
                np.nan if nothing else float(mean),
                np.nan if nothing else float(deviation),
            )
        )
    return found
