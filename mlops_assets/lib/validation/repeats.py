"""Rows that repeat others, found by DuckDB within a limit of memory.

Hashes first: a batch with no hash twice has no row twice, and only rows that share one are
compared, by their values. So a row is never called a repetition that is none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.features.dbt_project import file_relation
from mlops_assets.lib.reading.raw_table import ROW

if TYPE_CHECKING:
    import duckdb
    import polars as pl

FIRST = "_first"
# What does not fit goes to a scratch folder.
MEMORY_LIMIT = "512MB"


def repeats(contract: Contract, valid: Path, batch: str) -> pl.DataFrame:
    """The rows of a batch that repeat an earlier one, as far as the contract minds.

    Args:
        contract: Its ``duplicates`` and its ``key`` say what is looked for.
        valid: Parquet of ``row_id`` and the contract's columns.
        batch: Prefix of the row ids.

    Returns:
        ``_row`` of each, ascending, and ``_first``: the row whose key it repeats, or NULL where it
        repeats an earlier row in every column.
    """
    import duckdb
    import polars as pl

    found = pl.DataFrame(schema={ROW: pl.Int64, FIRST: pl.Int64})
    every = [column.name for column in contract.every_column]
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as database:
        limit_memory(database, Path(scratch))
        database.execute(
            f"""
            create view rows as
            select *, substr(row_id, {len(batch) + 2})::bigint as "{ROW}"
            from {file_relation(valid)}
            """
        )
        if contract.duplicates == "quarantine":
            rows = _later(database, every)
            found = rows.with_columns(pl.lit(None, pl.Int64).alias(FIRST))
        if contract.key:
            later = _later(database, contract.key).join(found, on=ROW, how="anti")
            found = pl.concat([found, later]).sort(ROW)
    return found


def limit_memory(database: duckdb.DuckDBPyConnection, scratch: Path) -> None:
    """Let a database spill to a folder beyond the limit."""
    database.execute("set memory_limit = ?", [MEMORY_LIMIT])
    database.execute("set temp_directory = ?", [str(scratch)])
    database.execute("set preserve_insertion_order = false")


def _later(database: duckdb.DuckDBPyConnection, columns: list[str]) -> pl.DataFrame:
    """Every row whose values an earlier one has, with the first of these."""
    names = ", ".join(f'"{name}"' for name in columns)
    database.execute(
        f"""
        create or replace temp table shared as
        select hash({names}) as h from rows group by 1 having count(*) > 1
        """
    )
    import polars as pl

    found = database.execute(
        f"""
        select "{ROW}", "{FIRST}" from (
            select "{ROW}", min("{ROW}") over (partition by {names}) as "{FIRST}"
            from rows where hash({names}) in (from shared)
        )
        where "{ROW}" > "{FIRST}" order by 1
        """
    ).fetchnumpy()
    return pl.DataFrame(found, schema={ROW: pl.Int64, FIRST: pl.Int64})
