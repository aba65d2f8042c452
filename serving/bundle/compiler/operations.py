"""How each of DuckDB's operators and functions is written in Python.

An operation is in the table when its answer is DuckDB's to the last bit for every value within the
limits of `values`; its other values raise or leave the limits, and the row is handed back.
Arithmetic of FLOAT is that of doubles, rounded: with more than twice the digits, rounding twice
changes nothing. Functions such as `exp` are the C library's in both. Left out on purpose: what
reads text as a number or writes one, letters beyond ASCII in upper and lower case, LIKE with
wildcards inside, `//` of floats.
"""

from typing import Final

from serving.bundle.compiler.arithmetic import (
    FUNCTIONS,
    absolute,
    add,
    divide,
    divide_integers,
    extreme,
    function_of_one,
    function_of_two,
    multiply,
    remainder,
    rounded,
    sign,
    subtract,
    whole,
)
from serving.bundle.compiler.casts import cast
from serving.bundle.compiler.code import Rule
from serving.bundle.compiler.logic import (
    COMPARED,
    always,
    compare,
    constant_or_null,
    contained,
    distinct,
    is_null,
    junction,
    negated,
)
from serving.bundle.compiler.plan import Type
from serving.bundle.compiler.texts_and_times import (
    CLOCK,
    PARTS,
    TIMES,
    difference,
    epoch,
    of_text,
    part,
)

_BIGINT: Final = Type("BIGINT")
_VARCHAR: Final = Type("VARCHAR")
#: By DuckDB's names in a plan.
RULES: Final[dict[str, Rule]] = {
    "cast": cast,
    "+": add, "-": subtract, "*": multiply, "/": divide,
    "//": divide_integers, "%": remainder, "mod": remainder,
    "abs": absolute, "sign": sign, "round": rounded,
    "floor": whole("floor"), "ceil": whole("ceil"), "ceiling": whole("ceil"),
    "trunc": whole("trunc"),
    **dict.fromkeys(FUNCTIONS, function_of_one),
    **dict.fromkeys(("pow", "power", "^", "**"), function_of_two("pow")),
    "atan2": function_of_two("atan2"),
    "greatest": extreme(">"), "least": extreme("<"),
    **dict.fromkeys(COMPARED, compare),
    "COMPARE_DISTINCT_FROM": distinct("!="), "COMPARE_NOT_DISTINCT_FROM": distinct("=="),
    "COMPARE_IN": contained,
    "CONJUNCTION_AND": junction("and", "False"), "CONJUNCTION_OR": junction("or", "True"),
    "OPERATOR_NOT": negated,
    "OPERATOR_IS_NULL": is_null("is"), "OPERATOR_IS_NOT_NULL": is_null("is not"),
    "constant_or_null": constant_or_null,
    "isnan": always(False), "isinf": always(False), "isfinite": always(True),
    "length": of_text("len({0})", _BIGINT, 2**40),
    **dict.fromkeys(("prefix", "starts_with", "^@"), of_text("{0}.startswith({1})")),
    **dict.fromkeys(("suffix", "ends_with"), of_text("{0}.endswith({1})")),
    "contains": of_text("{1} in {0}"),
    "lower": of_text("ascii_lower({0})", _VARCHAR),
    "upper": of_text("ascii_upper({0})", _VARCHAR),
    **{name: part(TIMES, *written) for name, written in PARTS.items()},
    **{name: part(("TIMESTAMP",), *written) for name, written in CLOCK.items()},
    "epoch": epoch,
    **dict.fromkeys(("date_diff", "datediff"), difference),
}  # fmt: skip
