"""The rules for feature SQL: one row in, one row out, the same answer every time.

A window, an aggregate or a clock would make serving differ from training without anyone noticing.
So the statement must consist of parts that are known to be row-wise and repeatable; whatever is
not on the lists below is refused, including what nobody has thought of yet.
"""

from collections.abc import Collection
from typing import Any, Final

import duckdb
import sqlglot
from sqlglot import exp

from serving.bundle.manifest import BundleError

SOURCE: Final = "input_rows"
ROW_ID: Final = "row_id"

_STRUCTURE: Final = (
    exp.From, exp.Table, exp.TableAlias, exp.Identifier, exp.Alias, exp.Column,
    exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Var,
    exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam,
    exp.And, exp.Or, exp.Not, exp.Neg,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
    exp.Is, exp.In, exp.Between, exp.Like, exp.ILike,
)  # fmt: skip
_FUNCTIONS: Final = (
    exp.Abs, exp.Sign, exp.Round, exp.Floor, exp.Ceil, exp.Trunc, exp.Greatest, exp.Least,
    exp.Ln, exp.Log, exp.Exp, exp.Pow, exp.Sqrt, exp.Cbrt, exp.Sin, exp.Cos, exp.Tan, exp.Atan,
    exp.Atan2, exp.Pi, exp.IsNan, exp.IsInf, exp.Coalesce, exp.Nullif,
    exp.Lower, exp.Upper, exp.Trim, exp.Length, exp.Substring, exp.Left, exp.Right, exp.Replace,
    exp.Concat, exp.Contains, exp.StartsWith, exp.EndsWith, exp.StrPosition, exp.RegexpLike,
    exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Week, exp.Day, exp.DayOfWeek,
    exp.DayOfWeekIso, exp.DayOfYear, exp.Hour, exp.Minute, exp.Second, exp.TimeToUnix,
    exp.DateDiff, exp.TimestampTrunc,
)  # fmt: skip
_ALLOWED: Final = (*_STRUCTURE, *_FUNCTIONS)
# Functions that sqlglot knows by name only.
_NAMED_FUNCTIONS: Final = frozenset(
    {"date_part", "datepart", "fmod", "isfinite", "prefix", "suffix", "weekday"}
)
# Not TIMESTAMPTZ: it reads the clock's time zone of the machine.
_TYPES: Final = (
    *exp.DataType.INTEGER_TYPES, *exp.DataType.FLOAT_TYPES, exp.DataType.Type.DECIMAL,
    exp.DataType.Type.BOOLEAN, exp.DataType.Type.VARCHAR, exp.DataType.Type.TEXT,
    exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ,
)  # fmt: skip


class FeatureSqlError(BundleError):
    """Feature SQL that must not run. The message says which part and why."""


def check_sql(sql: str, columns: Collection[str]) -> list[str]:
    """Check that feature SQL is one row-wise, repeatable SELECT over `input_rows`.

    Args:
        sql: The statement in DuckDB's dialect.
        columns: The columns of `input_rows` besides `row_id`.

    Returns:
        The names of the features it computes, in order.

    Raises:
        FeatureSqlError: With the part that is not allowed and the reason.
    """
    select = _one_select(sql)
    _check_clauses(select)
    names = _output_names(select)
    known = {name.lower() for name in (ROW_ID, *columns, *names)}
    for node in select.walk():
        if node is not select and (reason := _refusal(node, known)):
            raise FeatureSqlError(f"features.sql: {reason}: {_excerpt(node)}")
    return [name for name in names if name.lower() != ROW_ID]


def _one_select(sql: str) -> exp.Select:
    try:
        statements = sqlglot.parse(sql, read="duckdb")
        # The parser that will run it must see one SELECT too, or the checks judged another text.
        kinds = [statement.type for statement in duckdb.extract_statements(sql)]
    except (sqlglot.errors.SqlglotError, duckdb.Error, RecursionError) as error:
        raise FeatureSqlError(f"features.sql: cannot be parsed: {_first_line(error)}") from None
    if len(statements) != 1 or len(kinds) != 1:
        count = max(len(statements), len(kinds))
        raise FeatureSqlError(f"features.sql: expected one statement, found {count}")
    select = statements[0]
    if not isinstance(select, exp.Select) or kinds != [duckdb.StatementType.SELECT]:
        raise FeatureSqlError(f"features.sql: expected a SELECT: {_excerpt(select)}")
    return select


def _check_clauses(select: exp.Select) -> None:
    # sqlglot has called the source both "from" and "from_".
    clauses = {name.rstrip("_"): clause for name, clause in select.args.items() if clause}
    for name in clauses.keys() - {"expressions", "from"}:
        reason = f"{name.upper()} is not allowed: every row must give one row, on its own"
        raise FeatureSqlError(f"features.sql: {reason}")
    table = clauses["from"].this if "from" in clauses else None
    if not isinstance(table, exp.Table) or table.name.lower() != SOURCE:
        raise FeatureSqlError(f"features.sql: must read {SOURCE} and nothing else")
    extras = {name for name, value in table.args.items() if value} - {"this", "alias"}
    if extras or not isinstance(table.this, exp.Identifier) or table.alias_column_names:
        raise FeatureSqlError(f"features.sql: must read {SOURCE} as it is: {_excerpt(table)}")


def _output_names(select: exp.Select) -> list[str]:
    names = [projection.alias_or_name for projection in select.expressions]
    for projection, name in zip(select.expressions, names, strict=True):
        if not isinstance(projection, (exp.Alias, exp.Column)) or not name or name == "*":
            raise FeatureSqlError(f"features.sql: needs a name (AS ...): {_excerpt(projection)}")
        if name.lower() == ROW_ID and not isinstance(projection, exp.Column):
            raise FeatureSqlError(f"features.sql: {ROW_ID} must be passed on unchanged")
    lowered = [name.lower() for name in names]
    if lowered.count(ROW_ID) != 1 or len(set(lowered)) != len(lowered):
        raise FeatureSqlError(f"features.sql: must select {ROW_ID} and each feature once")
    return names


def _refusal(node: object, known: set[str]) -> str | None:
    if isinstance(node, exp.Column):
        return None if node.name.lower() in known else "not a column of the input"
    if isinstance(node, exp.DataType):
        return None if node.this in _TYPES else "not a type for features"
    if isinstance(node, exp.Anonymous):
        listed = node.name.lower() in _NAMED_FUNCTIONS
        return None if listed else "not on the list of row-wise, repeatable functions"
    if isinstance(node, _ALLOWED):
        return None
    if isinstance(node, exp.Window):
        return "a window function reads other rows"
    if isinstance(node, exp.AggFunc):
        return "an aggregate reads other rows"
    if isinstance(node, (exp.Query, exp.Exists)):
        return "a subquery"
    return "not on the list of row-wise, repeatable expressions"


def _excerpt(node: Any) -> str:
    return "nothing" if node is None else str(node.sql("duckdb", comments=False))[:80]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
