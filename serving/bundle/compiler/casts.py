"""How casts between booleans, numbers and times are written in Python.

DuckDB rounds a double to the nearest integer and a half to the even one, but a DECIMAL's half away
from zero. A cast that DuckDB refuses for one value (TRY_CAST makes it null) leaves the limits of
the type, so that the row is handed back.
"""

from collections.abc import Sequence
from typing import Final

from serving.bundle.compiler.code import Writer
from serving.bundle.compiler.plan import BOOLEAN, DOUBLE, FLOAT, Node, Type, UnsupportedError
from serving.bundle.compiler.values import Number, Value, is_integer, is_number

_EXACT_FLOAT: Final = 2**24
_EXACT_DOUBLE: Final = 2**53
# 10 ** 22 is the last power of ten that a double holds, 10 ** 10 the last that a float does.
_POWERS: Final = {FLOAT: 10, DOUBLE: 22}


def cast(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    """Write a cast.

    Raises:
        UnsupportedError: Nothing is known of a cast between these types.
    """
    (a,), to = args, node.type
    if a.type == to:
        return a
    if a.text == "None":
        return Value("None", to, nullable=True)
    if to == BOOLEAN and is_number(a.type):
        return writer.let(f"{a.text} != 0", BOOLEAN, args)
    if to in (FLOAT, DOUBLE):
        return _to_float(writer, a, to)
    if is_integer(to) and (a.type == BOOLEAN or is_number(a.type)):
        return _to_integer(writer, a, to)
    if to.name == "DECIMAL" and (a.type == BOOLEAN or is_integer(a.type) or a.type.name == to.name):
        return _to_decimal(writer, a, to)
    if to.name == "DATE" and a.type.name == "TIMESTAMP":
        return writer.let(f"{a.text}.date()", to, args)
    raise _unknown(a.type, to)


def _to_float(writer: Writer, a: Value, to: Type) -> Value:
    if a.type == BOOLEAN or is_integer(a.type):
        exact = a.largest <= _EXACT_FLOAT or to == DOUBLE
        low, high = float(a.low), float(a.high)
        return writer.let(f"{a.text} * 1.0", to, [a], low, high, rounded=exact)
    if a.type.name == "DECIMAL":
        if a.type.scale > _POWERS[to]:
            raise _unknown(a.type, to)
        # Beyond it DuckDB converts the digits before and after the point apart.
        largest = _EXACT_FLOAT if to == FLOAT else _EXACT_DOUBLE
        a, unit = writer.kept(a, (-largest, largest)), 10.0**a.type.scale
        low, high = a.low / unit, a.high / unit
        return writer.let(f"{a.text} / {unit!r}", to, [a], low, high, rounded=to == DOUBLE)
    if a.type == FLOAT:
        return Value(a.text, to, a.nullable, a.low, a.high)
    if a.type == DOUBLE:
        return writer.kept(Value(a.text, to, a.nullable, a.low, a.high, rounded=False))
    raise _unknown(a.type, to)


def _to_integer(writer: Writer, a: Value, to: Type) -> Value:
    if a.type == BOOLEAN:
        return writer.let(f"int({a.text})", to, [a], 0, 1)
    if is_integer(a.type):
        return writer.kept(Value(a.text, to, a.nullable, a.low, a.high))
    if a.type.name == "DECIMAL":
        unit = 10**a.type.scale
        code = f"divide_half_away({a.text}, {unit})"
        return writer.let(code, to, [a], a.low // unit, a.high // unit + 1)
    # A half goes to the even integer in both.
    return writer.let(f"round({a.text})", to, [a], a.low - 1, a.high + 1)


def _to_decimal(writer: Writer, a: Value, to: Type) -> Value:
    added = to.scale - a.type.scale
    if added < 0:
        raise _unknown(a.type, to)
    unit: Number = 10**added
    if unit == 1 and a.type != BOOLEAN:
        return writer.kept(Value(a.text, to, a.nullable, a.low, a.high))
    return writer.let(f"{a.text} * {unit}", to, [a], a.low * unit, a.high * unit)


def _unknown(kind: Type, to: Type) -> UnsupportedError:
    return UnsupportedError(f"CAST({kind} AS {to})")
