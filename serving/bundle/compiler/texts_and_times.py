"""How texts and times are read."""

from collections.abc import Sequence
from typing import Final

from serving.bundle.compiler.code import Rule, Writer
from serving.bundle.compiler.plan import BOOLEAN, DOUBLE, Node, Type
from serving.bundle.compiler.rules import require
from serving.bundle.compiler.values import Number, Value, is_integer

#: The types that have a date.
TIMES: Final = ("TIMESTAMP", "DATE")
PARTS: Final[dict[str, tuple[str, int, int]]] = {
    "year": ("{}.year", 1, 9999),
    "quarter": ("({}.month + 2) // 3", 1, 4),
    "month": ("{}.month", 1, 12),
    "week": ("{}.isocalendar()[1]", 1, 53),
    "day": ("{}.day", 1, 31),
    "dayofmonth": ("{}.day", 1, 31),
    "dayofweek": ("{}.isoweekday() % 7", 0, 6),
    "weekday": ("{}.isoweekday() % 7", 0, 6),
    "isodow": ("{}.isoweekday()", 1, 7),
    "dayofyear": ("day_of_year({})", 1, 366),
}
CLOCK: Final[dict[str, tuple[str, int, int]]] = {
    "hour": ("{}.hour", 0, 23),
    "minute": ("{}.minute", 0, 59),
    "second": ("{}.second", 0, 59),
}
_DIFFERENCES: Final = {
    "year": "{1}.year - {0}.year",
    "month": "({1}.year - {0}.year) * 12 + {1}.month - {0}.month",
    "day": "{1}.toordinal() - {0}.toordinal()",
}
# Boundaries crossed, in microseconds.
_UNITS: Final = {"hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}


def of_text(template: str, kind: Type = BOOLEAN, high: Number = 1) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(node.type == kind and all(each.type.name == "VARCHAR" for each in args), node)
        require(len(args) == (2 if "{1}" in template else 1), node)
        return writer.let(template.format(*(each.text for each in args)), kind, args, 0, high)

    return write


def part(kinds: Sequence[str], template: str, low: int, high: int) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(len(args) == 1 and is_integer(node.type) and args[0].type.name in kinds, node)
        return writer.let(template.format(args[0].text), node.type, args, low, high)

    return write


def epoch(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(node.type == DOUBLE and args[0].type.name == "TIMESTAMP", node)
    code = f"microseconds({args[0].text}) / 1000000.0"
    return writer.let(code, DOUBLE, args, -1e12, 1e12)


def difference(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    unit, start, end = node.children[0].value, args[1], args[2]
    require(node.children[0].operation == "constant" and start.type == end.type, node)
    if unit in _DIFFERENCES and start.type.name in TIMES:
        code = _DIFFERENCES[unit].format(start.text, end.text)
    else:
        require(unit in _UNITS and start.type.name == "TIMESTAMP", node)
        first, last = (f"microseconds({t.text}) // {_UNITS[unit]}" for t in (start, end))
        code = f"{last} - {first}"
    return writer.let(code, node.type, args[1:], -(10**12), 10**12)
