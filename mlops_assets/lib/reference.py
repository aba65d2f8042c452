"""The drift profile of a bundle: what the model's inputs, features and scores looked like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_assets.lib.contract import Contract

QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
NUMERIC = ("BIGINT", "DOUBLE")


def profile(contract: Contract, inputs: Path, scores: Path) -> dict[str, Any]:
    """Profile the training rows by DuckDB.

    Args:
        contract: The columns of ``inputs``.
        inputs: Parquet of ``row_id`` and the contract's columns.
        scores: Parquet of ``row_id`` and ``probability`` (0 to 1) of the rows to profile.

    Returns:
        ``rows``; by column: share ``missing`` and either the ``shares`` of the values or ``minimum``,
        ``maximum``, ``mean``, ``deviation`` and ``quantiles``; the same for ``score``.
    """
    import duckdb

    database = duckdb.connect()
    database.execute(
        "create table rows as select * from read_parquet(?) i join read_parquet(?) s using (row_id)",
        [str(inputs), str(scores)],
    )
    total = database.execute("select count(*) from rows").fetchone()
    assert total is not None
    columns = {
        column.name: (
            _numbers(database, column.name)
            if column.allowed is None and column.duckdb_type in NUMERIC
            else _shares(database, column.name)
        )
        for column in contract.columns
    }
    return {"rows": total[0], "columns": columns, "score": _numbers(database, "probability")}


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
        select "{name}"::varchar, count(*) / sum(count(*)) over () from rows
        group by 1 order by 2 desc, 1 limit 200
        """
    ).fetchall()
    shares = dict(found)
    return {"missing": shares.pop(None, 0.0), "shares": shares}
