"""Whether the rows have moved since the champion was trained.

The population stability index compares the shares of two sets of rows in some bins: the sum of
``(new - old) ln(new / old)``. By convention less than 0.1 is stable, and 0.25 or more has shifted
(Siddiqi, "Credit Risk Scorecards", 2006). Chance alone adds some ``(bins - 1) (1 / n + 1 / m)`` to
it, which is why few rows give no answer: 0.06 with the fewest that count here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.parquet import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from serving.bundle.columns import Column

    Flags = NDArray[np.bool_]

DRIFTED = 0.25
MINIMUM_ROWS = 300
BINNED = ("integer", "number", "boolean")
DECILES = [n / 10 for n in range(1, 10)]


def drifted(
    columns: Sequence[Column], inputs: Path, old: Flags, new: Flags
) -> tuple[str, float] | None:
    """The input that has drifted most, with its index.

    Numbers are put into the deciles of the old rows, codes and booleans into one bin a value; a
    missing value is a bin of its own. Texts and moments are left out: every one of them is new.

    Args:
        columns: What the champion reads.
        inputs: Parquet with these columns.
        old: Which rows of it are the reference, shape ``[n]``, in the order of the file.
        new: Which rows are compared with it, likewise.

    Returns:
        None if none has, or either side has fewer than ``MINIMUM_ROWS`` rows.
    """
    import duckdb
    import numpy as np
    import pyarrow as pa

    if min(old.sum(), new.sum()) < MINIMUM_ROWS:
        return None
    with duckdb.connect() as database:
        database.execute("set enable_progress_bar = false")
        sides = pa.table({"number": np.arange(len(old)), "old": old, "new": new})
        database.register("sides", sides)
        names = ", ".join(f'i."{column.name}"' for column in columns)
        database.execute(
            f"""
            create table rows as
            select s.old, {names} from read_parquet(?, file_row_number = true) i
            join sides s on i.file_row_number = s.number
            where s.old or s.new
            """,
            [literal(inputs)],
        )
        found = {
            column.name: _index(database, _bin(database, column))
            for column in columns
            if column.allowed is not None or column.type in BINNED
        }
    name = max(found, key=lambda each: found[each], default=None)
    return None if name is None or found[name] < DRIFTED else (name, found[name])


def _bin(database: duckdb.DuckDBPyConnection, column: Column) -> str:
    """An expression that gives the bin of a value; NULL stays NULL."""
    name = f'"{column.name}"'
    if column.allowed is not None or column.type == "boolean":
        return f"{name}::varchar"
    row = database.execute(
        f"select quantile_disc({name}, {DECILES}) from rows where old"
    ).fetchone()
    edges = sorted(set((row and row[0]) or []))
    above = " + ".join(f"({name} > '{edge}'::double)::int" for edge in edges) or "0"
    return f"case when {name} is not null then {above} end"


def _index(database: duckdb.DuckDBPyConnection, bin_of: str) -> float:
    """The index over the bins of an expression; half a row is added to each, so that none is 0."""
    row = database.execute(
        f"""
        with bins as (
            select count(*) filter (old) + 0.5 as old, count(*) filter (not old) + 0.5 as new
            from rows group by {bin_of}
        ),
        shares as (
            select old / sum(old) over () as old, new / sum(new) over () as new from bins
        )
        select coalesce(sum((new - old) * ln(new / old)), 0) from shares
        """
    ).fetchone()
    assert row is not None
    return float(row[0])
