"""How each of DuckDB's operators and functions is written in Python.

An operation is in the table when its answer is DuckDB's to the last bit for every value within the
limits of `code`; its other values raise or leave the limits, and the row is handed back. Arithmetic
of FLOAT is that of doubles, rounded: with more than twice the digits, rounding twice changes
nothing. Functions such as `exp` are the C library's in both. Left out on purpose: what reads text
as a number or writes one, letters beyond ASCII in upper and lower case, LIKE with wildcards inside,
`//` of floats.
"""

from collections.abc import Sequence
from math import exp
from typing import Final

from serving.bundle.compiler.casts import cast
from serving.bundle.compiler.code import Number, Rule, Value, Writer, is_integer, is_number
from serving.bundle.compiler.plan import BOOLEAN, DOUBLE, FLOAT, Node, Type, UnsupportedError

_INFINITE: Final = float("inf")
_LARGEST_EXPONENT: Final = 600
_TEXT: Final = "VARCHAR"
_TIMES: Final = ("TIMESTAMP", "DATE")
_COMPARED: Final = {
    "COMPARE_EQUAL": "==",
    "COMPARE_NOTEQUAL": "!=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
# Python and the limits of the result, given those of a double.
_FUNCTIONS: Final[dict[str, tuple[str, Number, Number]]] = {
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
_PARTS: Final[dict[str, tuple[str, int, int]]] = {
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
_CLOCK: Final[dict[str, tuple[str, int, int]]] = {
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


def _require(fits: bool, node: Node) -> None:
    if not fits:
        types = ", ".join(str(child.type) for child in node.children)
        raise UnsupportedError(f"{node.operation}({types}) as {node.type}")


def _products(first: Value, second: Value) -> list[Number]:
    return [x * y for x in (first.low, first.high) for y in (second.low, second.high)]


def _alike(node: Node, args: Sequence[Value]) -> bool:
    """Whether arguments and result are numbers of one type, DECIMALs of one scale."""
    if node.type.name == "DECIMAL":
        scale = node.type.scale
        return all(each.type.name == "DECIMAL" and each.type.scale == scale for each in args)
    return is_number(node.type) and all(each.type == node.type for each in args)


def _add(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(len(args) in (1, 2) and _alike(node, args), node)
    if len(args) == 1:
        return args[0]
    a, b = args
    return _arithmetic(writer, node, args, f"{a.text} + {b.text}", a.low + b.low, a.high + b.high)


def _subtract(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(len(args) in (1, 2) and _alike(node, args), node)
    if len(args) == 1:
        (a,) = args
        return _arithmetic(writer, node, args, f"-{a.text}", -a.high, -a.low)
    a, b = args
    return _arithmetic(writer, node, args, f"{a.text} - {b.text}", a.low - b.high, a.high - b.low)


def _multiply(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    decimal = (
        node.type.name == "DECIMAL"
        and all(each.type.name == "DECIMAL" for each in args)
        and sum(each.type.scale for each in args) == node.type.scale
    )
    _require(len(args) == 2 and (decimal or _alike(node, args)), node)
    a, b = args
    products = _products(a, b)
    return _arithmetic(writer, node, args, f"{a.text} * {b.text}", min(products), max(products))


def _divide(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(node.type in (FLOAT, DOUBLE) and _alike(node, args), node)
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


def _divide_integers(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(is_integer(node.type) and _alike(node, args), node)
    a, b = args
    code = f"{a.text} // {b.text}"
    if a.low < 0 or b.low <= 0:
        code = f"divide_to_zero({a.text}, {b.text})"
    return writer.let(code, node.type, args, -a.largest, a.largest)


def _remainder(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(len(args) == 2 and _alike(node, args), node)
    a, b = args
    code = f"fmod({a.text}, {b.text})"
    if node.type not in (FLOAT, DOUBLE):
        code = f"int({code})"
    largest = min(a.largest, b.largest)
    return writer.let(code, node.type, args, -largest, largest)


def _absolute(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(_alike(node, args), node)
    (a,) = args
    low = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return writer.let(f"abs({a.text})", node.type, args, low, a.largest)


def _sign(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    (a,) = args
    _require(is_number(a.type), node)
    return writer.let(f"({a.text} > 0) - ({a.text} < 0)", node.type, args, -1, 1)


def _whole(function: str) -> Rule:
    """FLOOR, CEIL and TRUNC."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        (a,) = args
        low, high = a.low - 1, a.high + 1
        if is_integer(a.type) and a.type == node.type:
            return a
        if a.type in (FLOAT, DOUBLE):
            _require(a.type == node.type, node)
            # copysign: -0.0 stays, and -0.5 goes up to -0.0.
            code = f"copysign({function}({a.text}), {a.text})"
            return writer.let(code, node.type, args, low, high)
        _require(a.type.name == node.type.name == "DECIMAL" and node.type.scale == 0, node)
        unit = 10**a.type.scale
        code = {
            "floor": f"{a.text} // {unit}",
            "ceil": f"-(-{a.text} // {unit})",
            "trunc": f"divide_to_zero({a.text}, {unit})",
        }[function]
        bounds = a.low // unit, a.high // unit + 1
        return writer.let(code, node.type, args, *bounds)

    return write


def _round(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    a, *given = args
    digits = node.children[1].value if given else 0
    _require(not given or (node.children[1].operation == "constant" and digits is not None), node)
    if a.type.name == node.type.name == "DECIMAL":
        _require(digits == node.type.scale <= a.type.scale, node)
        unit = 10 ** (a.type.scale - node.type.scale)
        bounds = a.low // unit, a.high // unit + 1
        return writer.let(f"divide_half_away({a.text}, {unit})", node.type, args[:1], *bounds)
    _require(a.type == node.type and -15 <= digits <= 15, node)
    if is_integer(a.type):
        if digits >= 0:
            return a
        code = f"divide_half_away({a.text}, {10**-digits}) * {10**-digits}"
        size = a.largest + 10**-digits
        return writer.let(code, node.type, args[:1], -size, size)
    _require(a.type == DOUBLE or (a.type == FLOAT and not given), node)
    unit, size = f"{10.0 ** abs(digits)!r}", a.largest + 10.0 ** max(-digits, 0)
    code = f"half_away({a.text})"
    if digits > 0:
        code = f"half_away({a.text} * {unit}) / {unit}"
    elif digits < 0:
        code = f"half_away({a.text} / {unit}) * {unit}"
    return writer.let(code, node.type, args[:1], -2 * size, 2 * size)


def _function(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    code, low, high = _FUNCTIONS[node.operation]
    _require(len(args) == 1 and node.type == args[0].type == DOUBLE, node)
    if node.operation == "exp" and args[0].high < _LARGEST_EXPONENT:
        # Twice: whatever the last bit, it is no less than any result.
        high = 2 * exp(args[0].high)
    return writer.let(code.format(args[0].text), DOUBLE, args, low, high)


def _function_of_two(function: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(len(args) == 2 and node.type == DOUBLE and _alike(node, args), node)
        code = f"{function}({args[0].text}, {args[1].text})"
        return writer.let(code, DOUBLE, args, -_INFINITE, _INFINITE)

    return write


def _extreme(sign: str) -> Rule:
    """GREATEST and LEAST: nulls are passed over; of equals (0.0 and -0.0) the first stays."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(_alike(node, args), node)
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


def _same(node: Node, args: Sequence[Value]) -> None:
    kind = args[0].type
    known = is_number(kind) or kind == BOOLEAN or kind.name in (_TEXT, *_TIMES)
    _require(known and all(each.type == kind for each in args), node)


def _compare(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _same(node, args)
    a, b = args
    return writer.let(f"{a.text} {_COMPARED[node.operation]} {b.text}", BOOLEAN, args)


def _distinct(sign: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _same(node, args)
        return writer.let(f"{args[0].text} {sign} {args[1].text}", BOOLEAN)

    return write


def _in(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _same(node, args)
    _require(all(child.operation == "constant" for child in node.children[1:]), node)
    needle, *others = args
    choices = [other.text for other in others if not other.nullable]
    found = f"{needle.text} in ({', '.join(choices)},)" if choices else "False"
    if len(choices) < len(others):
        return writer.let(f"({found}) or None", BOOLEAN, [needle], nullable=True)
    return writer.let(found, BOOLEAN, [needle])


def _junction(word: str, decisive: str) -> Rule:
    """AND and OR: one decisive value decides, whatever is null beside it."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(all(each.type == BOOLEAN for each in args), node)
        joined = f" {word} ".join(each.text for each in args)
        if not (absent := [each.text for each in args if each.nullable]):
            return writer.let(joined, BOOLEAN)
        decided = " or ".join(f"{each.text} is {decisive}" for each in args)
        unknown = " or ".join(f"{text} is None" for text in absent)
        other = "True" if decisive == "False" else "False"
        code = f"{decisive} if {decided} else None if {unknown} else {other}"
        return writer.let(code, BOOLEAN, nullable=True)

    return write


def _not(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(args[0].type == BOOLEAN, node)
    return writer.let(f"not {args[0].text}", BOOLEAN, args)


def _is_null(sign: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        if not args[0].nullable:
            return Value(str(sign == "is not"), BOOLEAN)
        return writer.let(f"{args[0].text} {sign} None", BOOLEAN)

    return write


def _always(answer: bool) -> Rule:
    """ISNAN, ISINF and ISFINITE of values that are all finite."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(args[0].type in (FLOAT, DOUBLE), node)
        return writer.let(str(answer), BOOLEAN, args)

    return write


def _constant_or_null(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    a, *others = args
    _require(a.type == node.type, node)
    return writer.let(a.text, node.type, [a, *others], a.low, a.high)


def _of_text(template: str, kind: Type = BOOLEAN, high: Number = 1) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(node.type == kind and all(each.type.name == _TEXT for each in args), node)
        _require(len(args) == (2 if "{1}" in template else 1), node)
        return writer.let(template.format(*(each.text for each in args)), kind, args, 0, high)

    return write


def _part(kinds: Sequence[str], template: str, low: int, high: int) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _require(len(args) == 1 and is_integer(node.type) and args[0].type.name in kinds, node)
        return writer.let(template.format(args[0].text), node.type, args, low, high)

    return write


def _epoch(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _require(node.type == DOUBLE and args[0].type.name == "TIMESTAMP", node)
    code = f"microseconds({args[0].text}) / 1000000.0"
    return writer.let(code, DOUBLE, args, -1e12, 1e12)


def _difference(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    part, start, end = node.children[0].value, args[1], args[2]
    _require(node.children[0].operation == "constant" and start.type == end.type, node)
    if part in _DIFFERENCES and start.type.name in _TIMES:
        code = _DIFFERENCES[part].format(start.text, end.text)
    else:
        _require(part in _UNITS and start.type.name == "TIMESTAMP", node)
        first, last = (f"microseconds({t.text}) // {_UNITS[part]}" for t in (start, end))
        code = f"{last} - {first}"
    return writer.let(code, node.type, args[1:], -(10**12), 10**12)


_BIGINT: Final = Type("BIGINT")
_VARCHAR: Final = Type(_TEXT)
#: By DuckDB's names in a plan.
RULES: Final[dict[str, Rule]] = {
    "cast": cast,
    "+": _add, "-": _subtract, "*": _multiply, "/": _divide,
    "//": _divide_integers, "%": _remainder, "mod": _remainder,
    "abs": _absolute, "sign": _sign, "round": _round,
    "floor": _whole("floor"), "ceil": _whole("ceil"), "ceiling": _whole("ceil"),
    "trunc": _whole("trunc"),
    **dict.fromkeys(_FUNCTIONS, _function),
    **dict.fromkeys(("pow", "power", "^", "**"), _function_of_two("pow")),
    "atan2": _function_of_two("atan2"),
    "greatest": _extreme(">"), "least": _extreme("<"),
    **dict.fromkeys(_COMPARED, _compare),
    "COMPARE_DISTINCT_FROM": _distinct("!="), "COMPARE_NOT_DISTINCT_FROM": _distinct("=="),
    "COMPARE_IN": _in,
    "CONJUNCTION_AND": _junction("and", "False"), "CONJUNCTION_OR": _junction("or", "True"),
    "OPERATOR_NOT": _not,
    "OPERATOR_IS_NULL": _is_null("is"), "OPERATOR_IS_NOT_NULL": _is_null("is not"),
    "constant_or_null": _constant_or_null,
    "isnan": _always(False), "isinf": _always(False), "isfinite": _always(True),
    "length": _of_text("len({0})", _BIGINT, 2**40),
    **dict.fromkeys(("prefix", "starts_with", "^@"), _of_text("{0}.startswith({1})")),
    **dict.fromkeys(("suffix", "ends_with"), _of_text("{0}.endswith({1})")),
    "contains": _of_text("{1} in {0}"),
    "lower": _of_text("ascii_lower({0})", _VARCHAR),
    "upper": _of_text("ascii_upper({0})", _VARCHAR),
    **{name: _part(_TIMES, *part) for name, part in _PARTS.items()},
    **{name: _part(("TIMESTAMP",), *part) for name, part in _CLOCK.items()},
    "epoch": _epoch,
    **dict.fromkeys(("date_diff", "datediff"), _difference),
}  # fmt: skip
