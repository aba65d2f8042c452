"""Does the feature SQL keep its own data tests for every value that the contract allows?

A value that was added to the contract alone passes validation; the SQL then has no column for it,
and a data test would refuse each batch that holds one. So the SQL is run on made-up rows: a typical
one, and that row with each other value of a category or boolean, and without a value where none is
needed. An "other" column in the draft would hide such a value from the model in place of naming it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.features.dbt_project import DataTest, FeatureModel
from mlops_assets.lib.features.feature_check import ROW_ID, as_plain_sql, sql_path
from mlops_assets.lib.features.feature_sql import INPUT_TABLE
from mlops_assets.lib.spec.spec_file import Document, Mistake, SpecError
from mlops_assets.lib.spec.use_case import UseCase

# Which rows break a data test, by its kind.
BROKEN = {
    "exactly_one_of": lambda names: f"({' + '.join(names)}) is distinct from 1",
    "not_null": lambda names: f"{names[0]} is null",
}
TYPICAL_TIME = "2026-01-01T12:00:00"


@dataclass(frozen=True)
class _Row:
    """A made-up row.

    Attributes:
        path: Of the value that makes it another than the typical one; empty for that one.
        said: The same for a person.
    """

    values: dict[str, Any]
    path: list[str | int]
    said: str


def check_values(document: Document, spec: UseCase, model: FeatureModel) -> None:
    """Run the SQL on made-up rows. SQL with other templates than its source is left to dbt.

    Raises:
        SpecError: Naming each value for which a data test fails, or the SQL where DuckDB cannot run
            it.
    """
    import duckdb

    path = sql_path(spec.name)
    sql = as_plain_sql(spec.name, path.read_text(encoding="utf-8"))
    if sql is None:
        return
    rows = list(_rows(spec))
    mistakes: list[Mistake] = []
    with duckdb.connect() as database:
        try:
            _fill(database, spec.contract.inputs, rows)
            database.execute(f"create table made as {sql}")
        except duckdb.Error as error:
            said = f"DuckDB cannot run it on a row that keeps the contract: {error}"
            raise SpecError([Mistake(path, 1, "", said.splitlines()[0])]) from None
        for test in model.tests:
            if test.blocking and test.kind in BROKEN:
                mistakes += _mistakes(document, database, test, rows)
    if mistakes:
        raise SpecError(mistakes)


def _rows(spec: UseCase) -> Iterator[_Row]:
    typical = {column.name: _typical(column) for column in spec.contract.inputs}
    yield _Row(typical, [], "a typical row")
    for index, column in enumerate(spec.contract.columns):
        if column.name not in typical:
            continue
        path: list[str | int] = ["contract", "columns", index]
        for place, value in enumerate(column.allowed or ()):
            said = f"{column.name} {value}"
            yield _Row({**typical, column.name: value}, [*path, "allowed", place], said)
        if column.type == "boolean":
            yield _Row({**typical, column.name: False}, path, f"{column.name} false")
        if column.nullable:
            said = f"no {column.name}"
            yield _Row({**typical, column.name: None}, [*path, "nullable"], said)


def _typical(column: Column) -> Any:
    """A value that the contract allows: its example, or one within its limits."""
    if column.example is not None:
        return column.example
    if column.allowed:
        return column.allowed[0]
    if column.type in ("integer", "number"):
        ends = [end for end in (column.minimum, column.maximum) if end is not None]
        return int(sum(ends) / len(ends)) if ends else 1
    return {"boolean": True, "timestamp": TYPICAL_TIME}.get(column.type, "text")


def _fill(database: Any, inputs: list[Column], rows: list[_Row]) -> None:
    names = ", ".join(f'"{column.name}" {column.duckdb_type}' for column in inputs)
    database.execute(f"create table {INPUT_TABLE} ({ROW_ID} varchar, {names})")
    places = ", ".join("?" * (len(inputs) + 1))
    database.executemany(
        f"insert into {INPUT_TABLE} values ({places})",
        [[str(n), *(row.values[c.name] for c in inputs)] for n, row in enumerate(rows)],
    )


def _mistakes(
    document: Document, database: Any, test: DataTest, rows: list[_Row]
) -> Iterator[Mistake]:
    quoted = [f'"{name}"' for name in test.columns]
    query = f"select {ROW_ID}::int from made where {BROKEN[test.kind](quoted)} order by 1"
    broken = [number for (number,) in database.execute(query).fetchall()]
    for number in broken:
        row = rows[number]
        if row.path and 0 in broken:
            return  # the typical row breaks it, whatever the value is
        about = row.path or ["name"]
        asked = f"{test.kind} {', '.join(test.columns)}"
        said = f"the data test {test.name} ({asked}) fails for {row.said}"
        yield document.mistake(about, f"{said}: the feature SQL has to take it into account")
