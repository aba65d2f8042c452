"""What is known of a value while its code is written: its type and its limits.

Within the limits every integer is exact in a double, no FLOAT overflows, and nothing is infinite.
"""

from dataclasses import dataclass
from typing import Final

from serving.bundle.compiler.plan import DOUBLE, FLOAT, Type

Number = int | float

#: Below it every integer is exact in a double.
_EXACT: Final = 2**53
_INTEGERS: Final[dict[str, tuple[int, int]]] = {
    **{f"{s}INT": (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for s, n in
       (("TINY", 8), ("SMALL", 16), ("BIG", 64), ("HUGE", 128))},
    **{f"U{s}INT": (0, 2**n - 1) for s, n in
       (("TINY", 8), ("SMALL", 16), ("BIG", 64), ("HUGE", 128))},
    "INTEGER": (-(2**31), 2**31 - 1),
    "UINTEGER": (0, 2**32 - 1),
}  # fmt: skip
# Far enough from the largest for the rounding of the last step.
_LARGEST_DOUBLE: Final = 1e300
_LARGEST_FLOAT: Final = 3.4e38


def is_integer(kind: Type) -> bool:
    """Whether values of a type are whole numbers."""
    return kind.name in _INTEGERS


def is_number(kind: Type) -> bool:
    """Whether a type has arithmetic."""
    return is_integer(kind) or kind in (FLOAT, DOUBLE) or kind.name == "DECIMAL"


def limits(kind: Type) -> tuple[Number, Number]:
    """Between what the values of a type are kept; a DECIMAL is its integer without the point."""
    if kind == DOUBLE:
        return -_LARGEST_DOUBLE, _LARGEST_DOUBLE
    if kind == FLOAT:
        return -_LARGEST_FLOAT, _LARGEST_FLOAT
    if kind.name == "DECIMAL":
        largest = min(10**kind.width - 1, _EXACT)
        return -largest, largest
    lowest, highest = _INTEGERS.get(kind.name, (0, 1))
    return max(lowest, -_EXACT), min(highest, _EXACT)


@dataclass(frozen=True)
class Value:
    """Something computed: what the code calls it and what is known of it.

    Attributes:
        text: A local variable or a literal; evaluating it costs and changes nothing.
        type: DuckDB's type.
        nullable: Whether it can be None.
        low: No value is less, where it is a number.
        high: No value is greater.
        rounded: False for a FLOAT that still has the digits of a double.
    """

    text: str
    type: Type
    nullable: bool = False
    low: Number = 0
    high: Number = 1
    rounded: bool = True

    @property
    def largest(self) -> Number:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))
