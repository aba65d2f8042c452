"""What feature SQL means, as DuckDB's binder understands it.

Not as another parser reads it: DuckDB serialises its own bound plan, in which names and aliases
are resolved, every cast is written out, every type is decided and constants are folded. So what 0.5
is (a DECIMAL), what `a > 0.5` is compared as and what an alias stands for cannot be understood
differently here. What the plan holds beyond the few forms read below is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from serving.bundle.names import quoted, text
from serving.bundle.sql_check import ROW_ID, SOURCE

#: The one optimizer that may run: it looks at nothing but the expression and its types. Others look
#: at statistics, and there are no rows here.
_REWRITER: Final = "expression_rewriter"


class UnsupportedError(ValueError):
    """A statement that is left to DuckDB. The message says what was met."""


@dataclass(frozen=True)
class Type:
    """A DuckDB type.

    Attributes:
        name: As DuckDB writes it, such as BIGINT or DECIMAL.
        width: The digits of a DECIMAL.
        scale: How many of them are after the point.
    """

    name: str
    width: int = 0
    scale: int = 0

    def __str__(self) -> str:
        """As in SQL."""
        return f"{self.name}({self.width},{self.scale})" if self.width else self.name


BOOLEAN: Final = Type("BOOLEAN")
FLOAT: Final = Type("FLOAT")
DOUBLE: Final = Type("DOUBLE")


@dataclass(frozen=True, eq=False)
class Node:
    """One bound expression; equal expressions of a plan are one object.

    Attributes:
        operation: `column`, `constant`, `cast`, `case`, or DuckDB's name of what is done.
        type: The type of its result.
        children: Its arguments; of a `case`: condition, result, ..., result otherwise.
        value: A column's name, or a constant's value as the plan writes it.
    """

    operation: str
    type: Type
    children: tuple["Node", ...] = ()
    value: Any = None


def bound(sql: str, columns: Mapping[str, str], features: Sequence[str]) -> list[Node]:
    """Ask DuckDB what a statement computes.

    Args:
        sql: The statement, already accepted by `check_sql`.
        columns: The DuckDB type of each column of `input_rows`, without `row_id`.
        features: The features to read, in order.

    Returns:
        For each feature the expression of its value as FLOAT.

    Raises:
        UnsupportedError: The plan has a form that is not known here.
    """
    types = ", ".join(f"{quoted(n)} {kind}" for n, kind in {ROW_ID: "VARCHAR", **columns}.items())
    floats = ", ".join(f"CAST({quoted(name)} AS FLOAT)" for name in features)
    query = f"SELECT {floats} FROM (\n{sql.rstrip().rstrip(';')}\n)"
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        try:
            names = database.execute("SELECT name FROM duckdb_optimizers()").fetchall()
            others = ",".join(name for (name,) in names if name != _REWRITER)
            database.execute(f"SET disabled_optimizers = {text(others)}")
            database.execute("SET enable_external_access = false; SET lock_configuration = true")
            database.execute(f"CREATE TABLE {SOURCE} ({types})")
            found = database.execute(
                "SELECT json_serialize_plan(?, optimize := true)", [query]
            ).fetchall()
        except duckdb.Error as error:
            raise UnsupportedError(f"no plan: {str(error).splitlines()[0]}") from None
    try:
        # Not JSON if a constant is infinite or NaN.
        (root,) = json.loads(found[0][0])["plans"]
        return _Reader().relation(root)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        if isinstance(error, UnsupportedError):
            raise
        raise UnsupportedError(f"a plan of another form: {error!r}"[:200]) from None


class _Reader:
    """Reads the expressions of one plan."""

    def __init__(self) -> None:
        self._known: dict[object, Node] = {}

    def relation(self, plan: Mapping[str, Any]) -> list[Node]:
        """What each column of a relation is, in terms of the source's columns."""
        kind = plan["type"]
        if kind == "LOGICAL_PROJECTION":
            (child,) = plan["children"]
            given = self.relation(child)
            return [self.expression(each, given) for each in plan["expressions"]]
        if kind == "LOGICAL_GET" and plan["function_data"]["table"] == SOURCE:
            indexes = [column["index"] for column in plan["column_indexes"]]
            return [
                self._node("column", _type(plan["returned_types"][i]), (), plan["names"][i])
                for i in indexes
            ]
        raise UnsupportedError(f"{kind} in the plan")

    def expression(self, found: Mapping[str, Any], given: Sequence[Node]) -> Node:
        """One expression over the columns of the relation below it."""
        kind, operation = found["expression_class"], found["type"]
        if kind == "BOUND_REF":
            index: int = found["index"]
            return given[index]
        if kind == "BOUND_CONSTANT":
            value = found["value"]
            content = None if value["is_null"] else value["value"]
            return self._node("constant", _type(value["type"]), (), content)
        if kind == "BOUND_CASE":
            pairs = [(c["when_expr"], c["then_expr"]) for c in found["case_checks"]]
            parts = [part for pair in pairs for part in pair] + [found["else_expr"]]
            children = tuple(self.expression(part, given) for part in parts)
            return self._node("case", children[1].type, children)
        children = tuple(self.expression(child, given) for child in found["children"])
        if kind == "BOUND_CONJUNCTION":
            return self._node(operation, BOOLEAN, children)
        returned = _type(found["return_type"])
        if kind == "BOUND_OPERATOR" or operation.startswith("COMPARE_"):
            return self._node(operation, returned, children)
        if kind == "BOUND_FUNCTION" and operation == "OPERATOR_CAST":
            return self._node("cast", returned, children)
        if kind == "BOUND_FUNCTION" and found["qname"]["path"][:-1] == ["system", "main"]:
            return self._node(found["qname"]["path"][-1], returned, children)
        raise UnsupportedError(f"{kind} {operation} in the plan")

    def _node(
        self, operation: str, kind: Type, children: tuple[Node, ...], value: Any = None
    ) -> Node:
        # repr: 0.0 and -0.0, 1 and True are equal and are not the same constant.
        key = (operation, kind, tuple(map(id, children)), repr(value))
        return self._known.setdefault(key, Node(operation, kind, children, value))


def _type(found: Mapping[str, Any]) -> Type:
    details = found["type_info"]
    if details is None:
        return Type(found["id"])
    if found["id"] != "DECIMAL":
        raise UnsupportedError(f"the type {found['id']}")
    return Type("DECIMAL", details["width"], details["scale"])
