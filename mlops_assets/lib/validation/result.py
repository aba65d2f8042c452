"""What was found in a batch: counts, reasons and the quality score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime


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
        reasons: How often each kind of failure came up, by column.
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

    def note(self, reasons: Iterable[str]) -> None:
        """Count reasons by their kind, and keep the first of each."""
        for reason in reasons:
            self.reasons[_kind(reason)] += 1
            self.examples.setdefault(_kind(reason), reason)

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


def _kind(reason: str) -> str:
    """What a reason is counted by: the column, or what is wrong with the whole row."""
    return "malformed line" if reason.startswith("line ") else reason.split(":")[0]
