"""Two sides in memory, and the relations of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from mlops_assets.lib.drift.measure import Measured, measure
from mlops_assets.lib.drift.sides import Column, Pair, connected
from mlops_assets.lib.drift.window import Window, compare_on
from mlops_assets.lib.spec.drift import Drift

# What Arrow makes a column of.
Values = Any


def column(name: str = "x", numeric: bool = True) -> Column:
    return Column(name, "input", numeric, name, name)


@contextmanager
def sides(
    reference: dict[str, Values], current: dict[str, Values]
) -> Iterator[duckdb.DuckDBPyConnection]:
    with connected() as database:
        for name, values in (("reference", reference), ("current", current)):
            database.register(name, pa.table({k: pa.array(v) for k, v in values.items()}))
        yield database


def measured(
    reference: Values, current: Values, numeric: bool = True, minimum_rows: int = 1
) -> Measured:
    with sides({"x": reference}, {"x": current}) as database:
        pair = Pair("reference", "current", [column("x", numeric)])
        (found,), left_out = measure(database, [pair], minimum_rows)
    assert left_out == []
    return found


def window(
    reference: dict[str, Values],
    current: dict[str, Values],
    categories: Sequence[str] = (),
    plan: Drift | None = None,
) -> Window:
    columns = [column(name, name not in categories) for name in reference]
    with sides(reference, current) as database:
        return compare_on(database, [Pair("reference", "current", columns)], plan or Drift())
