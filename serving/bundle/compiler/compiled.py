"""The compiled function of a bundle's feature SQL: from validated rows to packed floats.

The function begins by reading its columns, and takes no row on trust: a value of another type than
the contract's, or outside the limits that the rest of the function relies on, hands the row to
DuckDB.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.bundle.columns import Column
from serving.bundle.compiler.code import Writer, function
from serving.bundle.compiler.operations import RULES
from serving.bundle.compiler.plan import BOOLEAN, Node, Type, UnsupportedError
from serving.bundle.compiler.values import Value, is_integer

# Where the contract sets no limit: wide, and yet sums and products of a few stay within `code`'s.
_LARGEST_INTEGER: Final = 2**48
_LARGEST_DOUBLE: Final = 1e38
_PYTHON: Final = {"BIGINT": "int", "DOUBLE": "float", "BOOLEAN": "bool", "VARCHAR": "str"}
# What generated code raises for values that DuckDB may treat otherwise.
_HANDED_OVER: Final = (ArithmeticError, ValueError, TypeError, LookupError)


class Compiled:
    """Computes features of rows in Python; safe to call from several threads.

    Attributes:
        source: The text of the function.
        constants: The constants that the SQL compares or computes with.
    """

    def __init__(self, nodes: Sequence[Node], columns: Sequence[Column]) -> None:
        """Compile a statement.

        Args:
            nodes: The features in the model's order, as `bound` gives them.
            columns: The contract's columns.

        Raises:
            UnsupportedError: With the part that is left to DuckDB.
        """
        used = _reachable(nodes)
        self.constants = [node.value for node in used if node.operation == "constant"]
        names = {node.value for node in used if node.operation == "column"}
        body: list[str] = []
        values = {c.name: _read(c, f"c{i}", body) for i, c in enumerate(columns) if c.name in names}
        writer = Writer(RULES, values)
        try:
            outputs = [_output(writer, node) for node in nodes]
        except (RecursionError, OverflowError) as error:
            raise UnsupportedError(f"an expression is too large: {error}") from None
        writer.line(f"return pack({', '.join(outputs)})")
        extra = {"pack": struct.Struct(f"{len(nodes)}f").pack}
        self._function, self.source = function([*body, *writer.lines], writer.constants, extra)

    def run(self, rows: Sequence[Mapping[str, Any]]) -> list[bytes | None]:
        """Compute the features of rows.

        Returns:
            For each row its features as native float32, NaN for null, or None if DuckDB must
            compute it.
        """
        one = self._function
        found: list[bytes | None] = []
        for row in rows:
            try:
                found.append(one(row))
            except _HANDED_OVER:
                found.append(None)
        return found


def _reachable(nodes: Sequence[Node]) -> list[Node]:
    seen: dict[int, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += node.children
    return list(seen.values())


def _read(column: Column, name: str, body: list[str]) -> Value:
    """Write how a column is read and checked."""
    kind = Type(column.duckdb_type)
    body.append(f"    {name} = row[{column.name!a}]")
    present, absent = (
        (f"{name} is not None and ", f"None if {name} is None else ")
        if column.nullable
        else ("", "")
    )
    if kind.name == "TIMESTAMP":
        body.append(f"    {name} = {absent}moment({name})")
        return Value(name, kind, column.nullable)
    fits = f"type({name}) is {_PYTHON[kind.name]}"
    if kind.name in ("BIGINT", "DOUBLE"):
        low, high = _bounds(column, kind)
        fits = f"({fits} and {low!r} <= {name} <= {high!r})"
        value = Value(name, kind, column.nullable, low, high)
    else:
        value = Value(name, kind, column.nullable)
        fits = f"({fits})"
    body.append(f"    if {present}not {fits}: return None")
    return value


def _bounds(column: Column, kind: Type) -> tuple[int | float, int | float]:
    largest = _LARGEST_INTEGER if is_integer(kind) else _LARGEST_DOUBLE
    codes = [value for value in column.allowed or () if not isinstance(value, str)]
    low, high = (min(codes), max(codes)) if codes else (column.minimum, column.maximum)
    number = int if is_integer(kind) else float
    return (
        number(-largest if low is None else max(low, -largest)),
        number(largest if high is None else min(high, largest)),
    )


def _output(writer: Writer, node: Node) -> str:
    """Write one feature; packing it rounds to a float, as the cast would."""
    if node.operation == "cast":
        (child,) = node.children
        # The cast would only make a double of it, which packing does.
        if child.type == BOOLEAN or is_integer(child.type):
            node = child
    value = writer.value(node)
    return f"nan if {value.text} is None else {value.text}" if value.nullable else value.text
