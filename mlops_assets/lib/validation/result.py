"""What was found in a batch: counts, reasons and the quality score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a row breaks the contract.

    Attributes:
        kind: What it is counted by: the column and what is wrong there, or what is wrong with the
            whole row.
        said: In words, with the value.
    """

    kind: str
    said: str


@dataclass
class Validation:
    """What was found in a batch.

    Attributes:
        rows: Rows that landed.
        valid: Rows that keep the contract.
        quarantined: Rows kept aside.
        duplicates: Rows of the batch that repeat an earlier one.
        repeated_keys: Other rows that repeat the key of an earlier one.
        unknown: Values that are none of the allowed ones, by column.
        newest: The latest event time of a valid row.
        missing: Share of absent values among valid rows, by column.
        reasons: How often each kind of failure came up.
        examples: The first failure of each kind, in words.
        positives: Valid rows of the positive class.
    """

    rows: int = 0
    valid: int = 0
    duplicates: int = 0
    repeated_keys: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    newest: datetime | None = None
    missing: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    positives: int = 0

    def note(self, reasons: Iterable[Reason]) -> None:
        """Count reasons by their kind, and keep the first of each."""
        for reason in reasons:
            self.reasons[reason.kind] += 1
            self.examples.setdefault(reason.kind, reason.said)

    @property
    def quarantined(self) -> int:
        return self.rows - self.valid

    @property
    def positive_rate(self) -> float:
        return self.positives / self.valid if self.valid else 0.0

    @property
    def quality(self) -> float:
        """0 to 100: 100 x (share of rows valid) x (1 - mean share missing over the columns)."""
        if not self.rows or not self.missing:
            return 0.0
        complete = 1 - sum(self.missing.values()) / len(self.missing)
        return round(100 * (self.valid / self.rows) * complete, 2)
