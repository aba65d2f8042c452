"""What training saw of each column, so that an answer can say when it had to guess.

A value may keep the contract and still lie outside of every row that the model was trained on. It
is answered, and the answer says so.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from serving.bundle.contract import Contract, Row
from serving.bundle.manifest import BundleError

# Categories of training are listed up to here; a longer list was cut, and absence says nothing.
_MOST_LISTED: Final = 200


class Warned(NamedTuple):
    """A value that training never saw the like of. The value itself is not repeated."""

    column: str
    message: str


class TrainingRange:
    """The least and the greatest value of numbers, and the values of categories.

    Attributes:
        rows: How many rows training saw; None in a profile that does not say.
    """

    def __init__(self, profile: Mapping[str, Any], contract: Contract) -> None:
        """Read the profile that training wrote.

        Args:
            profile: The content of `reference.json`.
            contract: Whose columns are looked at.

        Raises:
            KeyError, TypeError, ValueError: If the profile is not one.
        """
        self.rows: int | None = profile.get("rows")
        self._numbers: list[tuple[str, float, float, Warned]] = []
        self._categories: list[tuple[str, frozenset[Any], Warned]] = []
        columns = profile.get("columns", {})
        for column in contract.columns:
            found = columns.get(column.name)
            if found is None:
                continue
            if found.get("minimum") is not None:
                low, high = float(found["minimum"]), float(found["maximum"])
                message = f"outside of what training saw: {low:g} to {high:g}"
                self._numbers.append((column.name, low, high, Warned(column.name, message)))
            elif column.allowed and 0 < len(found.get("shares", {})) < _MOST_LISTED:
                shares = found["shares"]
                seen = frozenset(value for value in column.allowed if str(value) in shares)
                message = "a value that training never saw"
                self._categories.append((column.name, seen, Warned(column.name, message)))

    def warnings(self, row: Row) -> list[Warned]:
        """What of a validated row training never saw the like of. Missing values are no news."""
        found = []
        for name, low, high, warned in self._numbers:
            value = row[name]
            if value is not None and not low <= value <= high:
                found.append(warned)
        for name, seen, warned in self._categories:
            value = row[name]
            if value is not None and value not in seen:
                found.append(warned)
        return found


def read_training_range(path: Path, contract: Contract) -> TrainingRange:
    """Read `reference.json`.

    Raises:
        BundleError: It is not a profile.
    """
    try:
        return TrainingRange(json.loads(path.read_bytes()), contract)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}: not a profile: {type(error).__name__}: {error}") from None
