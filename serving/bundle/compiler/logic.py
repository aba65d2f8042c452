"""How values are compared, and truth with three values computed."""

from collections.abc import Sequence
from typing import Final

from serving.bundle.compiler.code import Rule, Writer
from serving.bundle.compiler.plan import BOOLEAN, DOUBLE, FLOAT, Node
from serving.bundle.compiler.rules import require
from serving.bundle.compiler.values import Value, is_number

_ORDERED: Final = ("VARCHAR", "TIMESTAMP", "DATE")
COMPARED: Final = {
    "COMPARE_EQUAL": "==",
    "COMPARE_NOTEQUAL": "!=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}


def _same(node: Node, args: Sequence[Value]) -> None:
    kind = args[0].type
    known = is_number(kind) or kind == BOOLEAN or kind.name in _ORDERED
    require(known and all(each.type == kind for each in args), node)


def compare(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _same(node, args)
    a, b = args
    return writer.let(f"{a.text} {COMPARED[node.operation]} {b.text}", BOOLEAN, args)


def distinct(sign: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        _same(node, args)
        return writer.let(f"{args[0].text} {sign} {args[1].text}", BOOLEAN)

    return write


def contained(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    _same(node, args)
    require(all(child.operation == "constant" for child in node.children[1:]), node)
    needle, *others = args
    choices = [other.text for other in others if not other.nullable]
    found = f"{needle.text} in ({', '.join(choices)},)" if choices else "False"
    if len(choices) < len(others):
        return writer.let(f"({found}) or None", BOOLEAN, [needle], nullable=True)
    return writer.let(found, BOOLEAN, [needle])


def junction(word: str, decisive: str) -> Rule:
    """AND and OR: one decisive value decides, whatever is null beside it."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(all(each.type == BOOLEAN for each in args), node)
        joined = f" {word} ".join(each.text for each in args)
        if not (absent := [each.text for each in args if each.nullable]):
            return writer.let(joined, BOOLEAN)
        decided = " or ".join(f"{each.text} is {decisive}" for each in args)
        unknown = " or ".join(f"{text} is None" for text in absent)
        other = "True" if decisive == "False" else "False"
        code = f"{decisive} if {decided} else None if {unknown} else {other}"
        return writer.let(code, BOOLEAN, nullable=True)

    return write


def negated(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    require(args[0].type == BOOLEAN, node)
    return writer.let(f"not {args[0].text}", BOOLEAN, args)


def is_null(sign: str) -> Rule:
    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        if not args[0].nullable:
            return Value(str(sign == "is not"), BOOLEAN)
        return writer.let(f"{args[0].text} {sign} None", BOOLEAN)

    return write


def always(answer: bool) -> Rule:
    """ISNAN, ISINF and ISFINITE of values that are all finite."""

    def write(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
        require(args[0].type in (FLOAT, DOUBLE), node)
        return writer.let(str(answer), BOOLEAN, args)

    return write


def constant_or_null(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    a, *others = args
    require(a.type == node.type, node)
    return writer.let(a.text, node.type, [a, *others], a.low, a.high)
