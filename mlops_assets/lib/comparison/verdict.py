"""The verdict: what the judged rows say about the challenger, in numbers and in a sentence."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlops_assets.lib.comparison.delong import Paired, TooFewError, delong
from mlops_assets.lib.comparison.statistic import (
    METHOD,
    Difference,
    Part,
    difference,
    out_of_fold_part,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_assets.lib.comparison.rows import Flags, JointRows

Outcome = Literal["first", "better", "equivalent", "worse", "inconclusive"]


@dataclass(frozen=True)
class PartResult:
    """What one part of the rows says, at the level of the whole."""

    rows: int
    positives: int
    challenger: float
    champion: float
    difference: Difference

    @classmethod
    def of(cls, part: Part, level: float) -> PartResult:
        """Describe a part by itself."""
        paired = part.paired
        own = difference([part], level)
        return cls(part.rows, part.positives, paired.one, paired.other, own)


@dataclass(frozen=True)
class Verdict:
    """Challenger against champion.

    Attributes:
        outcome: ``inconclusive`` also where there is nothing to compute, for the reason in
            ``said``.
        said: For a person, with numbers and limits.
        challenger: Digest of its bundle.
        champion: Digest of its bundle; None for the first.
        difference: In ROC AUC, of both parts together.
        out_of_fold: Of the training rows, by out-of-fold scores.
        test: Of the test rows.
        answers_alike: Both rank every judged row alike.
        rows: How many are judged.
        left_out: Rows that are not, by reason.
        level: The chance of an error at either end of the interval.
        look: Number of the contest among those that share the champion's budget of error; None if
            nothing was compared, which spends nothing.
        method: Name of the statistic.
    """

    outcome: Outcome
    said: str
    challenger: str
    champion: str | None = None
    difference: Difference | None = None
    out_of_fold: PartResult | None = None
    test: PartResult | None = None
    answers_alike: bool = False
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    level: float | None = None
    look: int | None = None
    method: str = METHOD

    def as_dict(self) -> dict[str, Any]:
        """For the ledger: JSON-compatible, and without NaN."""
        return asdict(self)


@dataclass(frozen=True)
class Terms:
    """What a contest is judged by.

    Attributes:
        margin: A difference in ROC AUC that does not matter.
        level: The chance of an error at either end of the interval.
        look: Number of the contest.
        folds: By how many the challenger was scored.
        candidates: Of how many it was the best.
    """

    margin: float
    level: float
    look: int
    folds: int
    candidates: int


def judged(rows: JointRows, terms: Terms, challenger: str, champion: str) -> Verdict:
    """Give the verdict on the rows of both.

    Without out-of-fold scores of both the test rows speak alone. Without a test side there is no
    verdict: the training rows that chose the challenger would be its only judge.

    Args:
        rows: With the scores of both.
        terms: What it is judged by.
        challenger: Digest of its bundle.
        champion: Digest of its bundle.
    """
    honest, left_out = rows.judged, _left_out(rows.left_out)
    try:
        test = Part(*_paired(rows, honest & rows.test))
    except TooFewError as error:
        said = f"the test side cannot tell: {error}{left_out}"
        return Verdict("inconclusive", said, challenger, champion, left_out=rows.left_out)
    parts = [test]
    with suppress(TooFewError):
        trained = _paired(rows, honest & ~rows.test)
        parts.append(out_of_fold_part(*trained, terms.folds, terms.candidates))
    found = difference(parts, terms.level)
    count = sum(part.rows for part in parts)
    outcome = outcome_of(found, terms.margin)
    return Verdict(
        outcome=outcome,
        said=_said(outcome, found, count, terms) + left_out,
        challenger=challenger,
        champion=champion,
        difference=found,
        out_of_fold=PartResult.of(parts[1], terms.level) if len(parts) > 1 else None,
        test=PartResult.of(test, terms.level),
        answers_alike=found.low == found.high,
        rows=count,
        left_out=rows.left_out,
        level=terms.level,
        look=terms.look,
    )


def _paired(rows: JointRows, which: Flags) -> tuple[int, int, Paired]:
    """How many rows there are, how many of them are positive, and both on them."""
    target = rows.target[which]
    paired = delong(target, rows.challenger[which], rows.champion[which])
    return len(target), int(target.sum()), paired


def _said(outcome: Outcome, found: Difference, rows: int, terms: Terms) -> str:
    limit = {
        "better": "all of it above 0",
        "worse": "all of it below 0",
        "equivalent": f"all of it within {terms.margin:g} of 0",
    }.get(outcome, f"neither on one side of 0 nor all within {terms.margin:g} of it")
    return (
        f"{outcome}: difference in ROC AUC {found} on the same {rows} rows, {limit}; "
        f"contest {terms.look} of its budget of error, {terms.level:.2g} at either end"
    )


def _left_out(reasons: Mapping[str, int]) -> str:
    return "".join(f"; {count} rows left out: {why}" for why, count in reasons.items())


def outcome_of(found: Difference, margin: float) -> Outcome:
    """Name a difference by its whole interval.

    Equivalence asks for two one-sided tests (Schuirmann 1987), and comes first: a difference that
    is surely there and surely too small to matter is no reason to change what serves.
    """
    if -margin < found.low and found.high < margin:
        return "equivalent"
    if found.low > 0:
        return "better"
    if found.high < 0:
        return "worse"
    return "inconclusive"
