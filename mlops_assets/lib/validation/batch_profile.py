"""The profile of a batch for a person: one line a column, as Markdown."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlops_assets.lib.bundles.reference import column_profile, is_number
from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.features.dbt_project import file_relation
from mlops_assets.lib.validation.repeats import limit_memory

BARS = "▁▂▃▄▅▆▇█"
BINS = 10
MOST_VALUES = 5
MOST_DIFFERENT = 1_000


def profile_table(contract: Contract, rows: Path) -> str:
    """What the valid rows of a batch look like.

    Args:
        contract: The columns of ``rows``, the outcome among them.
        rows: Parquet of ``row_id`` and the contract's columns.
    """
    import duckdb

    lines = ["| column | unit | missing | values | |", "|" + " --- |" * 5]
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as database:
        limit_memory(database, Path(scratch))
        database.execute(f"create view rows as from {file_relation(rows)}")
        identifying = {column.name for column in contract.identifiers}
        for column in contract.every_column:
            missing, said, bars = _described(database, column, column.name in identifying)
            lines.append(
                f"| {column.name} | {column.unit or ''} | {missing:.1%} | {said} | {bars} |"
            )
    return "\n".join(lines)


def _described(database: Any, column: Column, identifies: bool) -> tuple[float, str, str]:
    """Share missing, the values in words, and a histogram.

    Of a column that identifies rows no value is shown: what is shown outlives an erased row.
    """
    if column.type in ("text", "timestamp") or identifies:
        missing, least, most, different = database.execute(
            f"""
            select 1 - count("{column.name}") / count(*), min("{column.name}"),
                   max("{column.name}"), approx_count_distinct("{column.name}")
            from rows
            """
        ).fetchone()
        if column.type == "timestamp":
            return missing, f"{least} to {most}", ""
        # Their names could be as many as the rows.
        if identifies or different > MOST_DIFFERENT:
            return missing, f"about {different} different ones", ""
    found = column_profile(database, column)
    said, bars = _number(database, column, found) if is_number(column) else (_shares(found), "")
    return found["missing"], said, bars


def _number(database: Any, column: Column, found: dict[str, Any]) -> tuple[str, str]:
    if found["minimum"] is None:
        return "none", ""
    median = found["quantiles"][found["levels"].index(0.5)]
    said = f"{found['minimum']:g} to {found['maximum']:g}, median {median:g}"
    return said + f", mean {found['mean']:.4g}", _bars(database, column.name, found)


def _bars(database: Any, name: str, found: dict[str, Any]) -> str:
    width = (found["maximum"] - found["minimum"]) / BINS
    if not width:
        return ""
    counted = dict(
        database.execute(
            f"""
            select least(floor(("{name}" - ?) / ?), {BINS - 1})::int, count(*) from rows
            where "{name}" is not null group by 1
            """,
            [found["minimum"], width],
        ).fetchall()
    )
    most = max(counted.values())
    counts = [counted.get(number, 0) for number in range(BINS)]
    return "".join(BARS[round(count / most * (len(BARS) - 1))] for count in counts)


def _shares(found: dict[str, Any]) -> str:
    shares = list(found["shares"].items())
    said = [f"{_cell(value)} {share:.0%}" for value, share in shares[:MOST_VALUES]]
    if len(shares) > MOST_VALUES:
        said.append("...")
    return ", ".join(said) or "none"


def _cell(value: str) -> str:
    """A value that cannot break the table."""
    return " ".join(value.split())[:40].replace("|", "\\|")
