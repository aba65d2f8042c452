"""Writes a Python function, statement by statement: every value is a local variable.

Each subexpression is computed once and before what uses it, as DuckDB does with a vector; only CASE
and COALESCE compute a branch when it is needed. Every number has limits that hold for every row:
a value that might leave them is followed by a check, and a row that does leave them is handed back
to DuckDB (the function returns None). Within them integers are exact in a double, no FLOAT
overflows and nothing is infinite or NaN, so that Python's arithmetic is DuckDB's and the order of
NaN never matters.

Safe to execute: the text consists of the templates of this package, of names that are made here
(`v1`, `v2`, ...), and of column names and constants written by `ascii` and `repr`. Nothing else of
a bundle gets into it: `check_sql` has refused all but a list of row-wise expressions, DuckDB has
parsed them, and an operation is looked up by name in a table. It is executed without builtins.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from serving.bundle.compiler.plan import BOOLEAN, DOUBLE, FLOAT, Node, Type, UnsupportedError
from serving.bundle.compiler.runtime import NAMES, from_days, from_microseconds, single
from serving.bundle.compiler.values import Number, Value, is_number, limits

# Python refuses a hundred levels of indentation.
_DEEPEST: Final = 60

#: Writes one operation over its arguments.
Rule = Callable[["Writer", Node, Sequence[Value]], Value]


class Writer:
    """Collects the statements of one function."""

    def __init__(self, rules: Mapping[str, Rule], columns: Mapping[str, Value]) -> None:
        """Start with the columns read.

        Args:
            rules: How the strict operations are written, those whose arguments are all computed.
            columns: The value of each column.
        """
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self._rules = rules
        self._columns = columns
        self._depth = 1
        self._count = 0
        # What is computed already, by block: a branch sees what was computed before it.
        self._scopes: list[dict[tuple[int, bool], Value]] = [{}]

    def line(self, text: str) -> None:
        """Add a statement to the current block."""
        if self._depth > _DEEPEST:
            raise UnsupportedError(f"expressions nested more than {_DEEPEST} deep")
        self.lines.append("    " * self._depth + text)

    def name(self) -> str:
        """A new local variable."""
        self._count += 1
        return f"v{self._count}"

    def let(
        self,
        expression: str,
        kind: Type,
        strict: Sequence[Value] = (),
        low: Number = 0,
        high: Number = 1,
        *,
        nullable: bool = False,
        rounded: bool = True,
    ) -> Value:
        """Compute an expression into a new variable, and check its limits where they may be left.

        Args:
            expression: Python over the texts of values.
            kind: The type of its result.
            strict: Values of which a null makes the result null.
            low: No result is less.
            high: No result is greater.
            nullable: Whether the expression itself gives None.
            rounded: False for a FLOAT that still has the digits of a double.
        """
        absent = list(dict.fromkeys(each.text for each in strict if each.nullable))
        nullable = nullable or bool(absent)
        if absent:
            condition = " or ".join(f"{text} is None" for text in absent)
            expression = f"None if {condition} else {expression}"
        name = self.name()
        self.line(f"{name} = {expression}")
        return self.kept(Value(name, kind, nullable, low, high, rounded))

    def kept(self, value: Value, within: tuple[Number, Number] | None = None) -> Value:
        """Hand the row over if a number leaves the limits of its type, or those given."""
        if not is_number(value.type):
            return value
        lowest, highest = within or limits(value.type)
        if lowest <= value.low and value.high <= highest:
            return value
        present = f"{value.text} is not None and " if value.nullable else ""
        self.line(f"if {present}not {lowest!r} <= {value.text} <= {highest!r}: return None")
        low, high = max(value.low, lowest), min(value.high, highest)
        # Limits that never meet: every row is handed over here.
        return replace(value, low=min(low, high), high=max(low, high))

    def value(self, node: Node) -> Value:
        """The value of an expression; a FLOAT perhaps with the digits of a double still."""
        return self._once(node, False, lambda: self._computed(node))

    def operand(self, node: Node) -> Value:
        """The value of an expression as an operation may use it."""
        value = self.value(node)
        return value if value.rounded else self._once(node, True, lambda: self._rounded(value))

    def constant(self, content: Any, kind: Type) -> Value:
        """A value that the code refers to by a name."""
        name = f"k{len(self.constants)}"
        self.constants[name] = content
        return Value(name, kind)

    def _once(self, node: Node, rounded: bool, compute: Callable[[], Value]) -> Value:
        key = (id(node), rounded)
        for scope in self._scopes:
            if key in scope:
                return scope[key]
        value = self._scopes[-1][key] = compute()
        return value

    def _rounded(self, value: Value) -> Value:
        low, high = single(value.low), single(value.high)
        return self.let(f"single({value.text})", FLOAT, [value], low, high)

    def _computed(self, node: Node) -> Value:
        operation = node.operation
        if operation == "column":
            return self._columns[node.value]
        if operation == "constant":
            return _literal(self, node)
        if operation == "case":
            return self._case(node)
        if operation == "OPERATOR_COALESCE":
            return self._coalesce(node)
        rule = self._rules.get(operation)
        if rule is None:
            raise UnsupportedError(f"{operation}({', '.join(str(c.type) for c in node.children)})")
        return rule(self, node, [self.operand(child) for child in node.children])

    def _case(self, node: Node) -> Value:
        *pairs, otherwise = node.children
        name, depth, results = self.name(), self._depth, []
        for condition, result in zip(pairs[::2], pairs[1::2], strict=True):
            self.line(f"if {self.operand(condition).text}:")
            results.append(self._branch(name, result))
            self.line("else:")
            self._depth += 1
            self._scopes.append({})
        self._depth -= 1
        results.append(self._branch(name, otherwise))
        del self._scopes[len(self._scopes) - len(pairs) // 2 :]
        self._depth = depth
        return _merged(name, node.type, results, any(each.nullable for each in results))

    def _coalesce(self, node: Node) -> Value:
        first, *others = node.children
        value = self.operand(first)
        if not value.nullable:
            return value
        name, depth, results = self.name(), self._depth, [value]
        self.line(f"{name} = {value.text}")
        for other in others:
            self.line(f"if {name} is None:")
            results.append(self._branch(name, other))
            if not results[-1].nullable:
                break
            self._depth += 1
            self._scopes.append({})
        added = self._depth - depth
        del self._scopes[len(self._scopes) - added :]
        self._depth = depth
        return _merged(name, node.type, results, results[-1].nullable)

    def _branch(self, name: str, node: Node) -> Value:
        self._depth += 1
        self._scopes.append({})
        value = self.operand(node)
        self.line(f"{name} = {value.text}")
        self._scopes.pop()
        self._depth -= 1
        return value


def _merged(name: str, kind: Type, values: Sequence[Value], nullable: bool) -> Value:
    if any(value.type != kind for value in values):
        raise UnsupportedError(f"branches of several types, {kind} among them")
    low, high = min(value.low for value in values), max(value.high for value in values)
    return Value(name, kind, nullable, low, high)


def function(
    body: Sequence[str], constants: Mapping[str, Any], extra: Mapping[str, Any]
) -> tuple[Callable[..., Any], str]:
    """Make the function of one row.

    Args:
        body: Its statements, indented once.
        constants: What the writer's names stand for.
        extra: Other names that the statements use.

    Returns:
        The function and its source.

    Raises:
        UnsupportedError: It is too large for Python.
    """
    source = "\n".join(["def features(row):", *body, ""])
    names: dict[str, Any] = {"__builtins__": {}, **NAMES, **constants, **extra}
    try:
        exec(compile(source, "<features.sql>", "exec"), names)
    except (SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise UnsupportedError(f"Python cannot compile it: {error}") from None
    made: Callable[..., Any] = names["features"]
    return made, source


def _literal(writer: Writer, node: Node) -> Value:
    kind, content = node.type, node.value
    if content is None:
        return Value("None", kind, nullable=True)
    if kind == BOOLEAN or kind.name == "VARCHAR":
        return Value(ascii(content), kind)
    if kind.name == "TIMESTAMP":
        return writer.constant(from_microseconds(content), kind)
    if kind.name == "DATE":
        return writer.constant(from_days(content), kind)
    if kind in (FLOAT, DOUBLE):
        number: Number = single(content) if kind == FLOAT else float(content)
    elif is_number(kind) and isinstance(content, dict):
        number = content["upper"] * 2**64 + content["lower"]
    elif is_number(kind):
        number = int(content)
    else:
        raise UnsupportedError(f"a constant of the type {kind}")
    lowest, highest = limits(kind)
    if not (math.isfinite(number) and lowest <= number <= highest):
        raise UnsupportedError(f"the constant {number} as {kind}")
    return Value(f"({number!r})", kind, False, number, number)
