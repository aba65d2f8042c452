"""How numbers are computed: operators, rounding, the C library's functions, extremes."""

from collections.abc import Sequence
from math import exp
from typing import Final

from serving.bundle.compiler.code import Rule, Writer
from serving.bundle.compiler.plan import DOUBLE, FLOAT, Node
from serving.bundle.compiler.rules import alike, require
from serving.bundle.compiler.values import Number, Value, is_integer, is_number

_INFINITE: Final = float("inf")
_LARGEST_EXPONENT: Final = 600
#: Python and the limits of the result, given those of a double.
FUNCTIONS: Final[dict[str, tuple[str, Number, Number]]] = {
    "sqrt": ("sqrt({})", 0.0, 1e150),
    "cbrt": ("cbrt({})", -1e101, 1e101),
    "ln": ("log({})", -750.0, 750.0),
    "log": ("log10({})", -750.0, 750.0),
    "log10": ("log10({})", -750.0, 750.0),
    "log2": ("log2({})", -1100.0, 1100.0),
    "exp": ("exp({})", 0.0, _INFINITE),
    "sin": ("sin({})", -1.0, 1.0),
    "cos": ("cos({})", -1.0, 1.0),
    "tan": ("tan({})", -_INFINITE, _INFINITE),
    "atan": ("atan({})", -2.0, 2.0),
}


def _products(first: Value, second: Value) -> list[Number]:
    return [x * y for x in (first.low, first.high) for y in (second.low, second.high)]


def add(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(len(args) in (1, 2) and alike(node, args), node)
    if len(args) == 1:
        return args[0]
    a, b = args
    return _arithmetic(writer, node, args, f"{a.text} + {b.text}", a.low + b.low, a.high + b.high)


def subtract(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(len(args) in (1, 2) and alike(node, args), node)
    if len(args) == 1:
        (a,) = args
        return _arithmetic(writer, node, args, f"-{a.text}", -a.high, -a.low)
    a, b = args
    return _arithmetic(writer, node, args, f"{a.text} - {b.text}", a.low - b.high, a.high - b.low)


def multiply(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    decimal = (
        node.type.name == "DECIMAL"
        and all(each.type.name == "DECIMAL" for each in args)
        and sum(each.type.scale for each in args) == node.type.scale
    )
    require(len(args) == 2 and (decimal or alike(node, args)), node)
    a, b = args
    products = _products(a, b)
    return _arithmetic(writer, node, args, f"{a.text} * {b.text}", min(products), max(products))


def divide(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(node.type in (FLOAT, DOUBLE) and alike(node, args), node)
    a, b = args
    low, high = -_INFINITE, _INFINITE
    if not b.low <= 0 <= b.high:
        quotients = [x / y for x in (a.low, a.high) for y in (b.low, b.high)]
        low, high = min(quotients), max(quotients)
    return _arithmetic(writer, node, args, f"{a.text} / {b.text}", low, high)


def _arithmetic(
    writer: Writer, node: Node, args: Sequence[Value], code: str, low: Number, high: Number
) -> Value:
    return writer.let(code, node.type, args, low, high, rounded=node.type != FLOAT)


def divide_integers(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(is_integer(node.type) and alike(node, args), node)
    a, b = args
    code = f"{a.text} // {b.text}"
    if a.low < 0 or b.low <= 0:
        code = f"divide_to_zero({a.text}, {b.text})"
    return writer.let(code, node.type, args, -a.largest, a.largest)


def remainder(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(len(args) == 2 and alike(node, args), node)
    a, b = args
    code = f"fmod({a.text}, {b.text})"
    if node.type not in (FLOAT, DOUBLE):
        code = f"int({code})"
    largest = min(a.largest, b.largest)
    return writer.let(code, node.type, args, -largest, largest)


def absolute(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(alike(node, args), node)
    (a,) = args
    low = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return writer.let(f"abs({a.text})", node.type, args, low, a.largest)


def sign(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    (a,) = args
    require(is_number(a.type), node)
    return writer.let(f"({a.text} > 0) - ({a.text} < 0)", node.type, args, -1, 1)


def whole(function: str) -> Rule:
    """FLOOR, CEIL and TRUNC."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        (a,) = args
        low, high = a.low - 1, a.high + 1
        if is_integer(a.type) and a.type == node.type:
            return a
        if a.type in (FLOAT, DOUBLE):
            require(a.type == node.type, node)
            # copysign: -0.0 stays, and -0.5 goes up to -0.0.
            code = f"copysign({function}({a.text}), {a.text})"
            return writer.let(code, node.type, args, low, high)
        require(a.type.name == node.type.name == "DECIMAL" and node.type.scale == 0, node)
        unit = 10**a.type.scale
        code = {
            "floor": f"{a.text} // {unit}",
            "ceil": f"-(-{a.text} // {unit})",
            "trunc": f"divide_to_zero({a.text}, {unit})",
        }[function]
        bounds = a.low // unit, a.high // unit + 1
        return writer.let(code, node.type, args, *bounds)

    return write


def rounded(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    a, *given = args
    digits = node.children[1].value if given else 0
    require(not given or (node.children[1].operation == "constant" and digits is not None), node)
    if a.type.name == node.type.name == "DECIMAL":
        require(digits == node.type.scale <= a.type.scale, node)
        unit = 10 ** (a.type.scale - node.type.scale)
        bounds = a.low // unit, a.high // unit + 1
        return writer.let(f"divide_half_away({a.text}, {unit})", node.type, args[:1], *bounds)
    require(a.type == node.type and -15 <= digits <= 15, node)
    if is_integer(a.type):
        if digits >= 0:
            return a
        code = f"divide_half_away({a.text}, {10**-digits}) * {10**-digits}"
        size = a.largest + 10**-digits
        return writer.let(code, node.type, args[:1], -size, size)
    require(a.type == DOUBLE or (a.type == FLOAT and not given), node)
    unit, size = f"{10.0 ** abs(digits)!r}", a.largest + 10.0 ** max(-digits, 0)
    code = f"half_away({a.text})"
    if digits > 0:
        code = f"half_away({a.text} * {unit}) / {unit}"
    elif digits < 0:
        code = f"half_away({a.text} / {unit}) * {unit}"
    return writer.let(code, node.type, args[:1], -2 * size, 2 * size)


def function_of_one(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    code, low, high = FUNCTIONS[node.operation]
    require(len(args) == 1 and node.type == args[0].type == DOUBLE, node)
    if node.operation == "exp" and args[0].high < _LARGEST_EXPONENT:
        # Twice: whatever the last bit, it is no less than any result.
        high = 2 * exp(args[0].high)
    return writer.let(code.format(args[0].text), DOUBLE, args, low, high)


def function_of_two(function: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(len(args) == 2 and node.type == DOUBLE and alike(node, args), node)
        code = f"{function}({args[0].text}, {args[1].text})"
        return writer.let(code, DOUBLE, args, -_INFINITE, _INFINITE)

    return write


def extreme(sign: str) -> Rule:
    """GREATEST and LEAST: nulls are passed over; of equals (0.0 and -0.0) the first stays."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(alike(node, args), node)
        best, *others = args
        pick = max if sign == ">" else min
        for other in others:
            code = f"{other.text} if {other.text} {sign} {best.text} else {best.text}"
            if other.nullable:
                code = f"{best.text} if {other.text} is None else {code}"
            if best.nullable:
                code = f"{other.text} if {best.text} is None else {code}"
            low, high = pick(best.low, other.low), pick(best.high, other.high)
            if best.nullable or other.nullable:
                low, high = min(best.low, other.low), max(best.high, other.high)
            nullable = best.nullable and other.nullable
            best = writer.let(code, node.type, (), low, high, nullable=nullable)
        return best

    return write
