"""The features model as serving runs it: the compiled dbt SELECT, reading rows handed to it."""

from collections.abc import Collection

INPUT_TABLE = "input_rows"


def portable(compiled: str, location: str, columns: Collection[str]) -> str:
    """Make the SQL that dbt ran read the table of a request's rows.

    Args:
        compiled: What dbt ran.
        location: The one relation it read, as dbt wrote it.
        columns: The contract's columns, which a request has.

    Returns:
        The same SELECT over the serving app's input table.

    Raises:
        serving.bundle.manifest.BundleError: If it is not one row-wise SELECT of that relation.
    """
    from serving.bundle.sql_check import check_sql

    sql = compiled.strip().replace(location, INPUT_TABLE) + "\n"
    check_sql(sql, columns)
    return sql
