"""The drift profile of a bundle: what the model's inputs, features and scores looked like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.parquet import literal

if TYPE_CHECKING:
    import duckdb

QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
NUMERIC = ("BIGINT", "DOUBLE")
# No column of a contract begins like this.
SCORE = "_score"


def profile(contract: Contract, inputs: Path, scores: Path) -> dict[str, Any]:
    """Profile the training rows by DuckDB.

    Args:
        contract: The columns of ``inputs``.
        inputs: Parquet of ``row_id`` and the contract's columns.
        scores: Parquet of ``row_id`` and ``probability`` (0 to 1) of the rows to profile.

    Returns:
        ``rows``; by column: share ``missing`` and either the ``shares`` of the values (the 200 most
        common) or ``minimum``, ``maximum``, ``mean``, ``deviation`` and ``quantiles``; the same for
        ``score``.
    """
    import duckdb

    database = duckdb.connect()
    database.execute(
        f"""
        create table rows as
        select i.*, s.probability as "{SCORE}"
        from read_parquet(?) i join read_parquet(?) s using (row_id)
        """,
        [literal(inputs), literal(scores)],
    )
    total = database.execute("select count(*) from rows").fetchone()
    assert total is not None
    columns = {column.name: column_profile(database, column) for column in contract.inputs}
    return {"rows": total[0], "columns": columns, "score": _numbers(database, SCORE)}


def is_number(column: Column) -> bool:
    """Whether a column is described by numbers; a category of codes is not."""
    return column.allowed is None and column.duckdb_type in NUMERIC


def column_profile(database: duckdb.DuckDBPyConnection, column: Column) -> dict[str, Any]:
    """Describe a column of the table ``rows``; see ``profile`` for what it holds."""
    return (_numbers if is_number(column) else _shares)(database, column.name)


def _numbers(database: Any, name: str) -> dict[str, Any]:
    row = database.execute(
        f"""
        select 1 - count("{name}") / count(*), min("{name}"), max("{name}"), avg("{name}"),
               stddev_pop("{name}"), quantile_cont("{name}"::double, {QUANTILES})
        from rows
        """
    ).fetchone()
    keys = ("missing", "minimum", "maximum", "mean", "deviation", "quantiles")
    return dict(zip(keys, row, strict=True)) | {"levels": QUANTILES}


def _shares(database: Any, name: str) -> dict[str, Any]:
    found = database.execute(
        f"""
        select "{name}"::varchar, count(*) / (select count(*) from rows) from rows
        where "{name}" is not null group by 1 order by 2 desc, 1 limit 200
        """
    ).fetchall()
    missing = database.execute(f'select 1 - count("{name}") / count(*) from rows').fetchone()
    return {"missing": missing[0], "shares": dict(found)}
