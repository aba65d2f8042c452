"""The winner on parts of the rows: where it is worse than on the rest of them.

A slice is held against the rest and not against the whole: the two share no row, so that the
interval of their difference is one of independent samples, and a large slice does not hide its gap
by being most of the whole. Only worse counts; that the rest is worse shows in the other slices.

With many slices some look bad by chance. Every interval is widened for the number of comparisons
(Bonferroni), and a gap counts only where its whole interval lies beyond what is allowed: a fair
model is called unfair in one at most of twenty evaluations, however many slices there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from mlops_assets.lib.evaluation import score_intervals
from mlops_assets.lib.evaluation.intervals import LEVEL, Interval
from mlops_assets.lib.evaluation.ranked import Ranked, roc_auc
from mlops_assets.lib.spec.gate import Gate

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from mlops_assets.lib.evaluation.ranked import Counts

    Floats = NDArray[np.float64]

Measure = Literal["roc_auc", "true_positive_rate", "false_positive_rate"]
# Other values of a column are one slice.
MOST_VALUES = 20
PARTS = (0.25, 0.5, 0.75)
MISSING, OTHERS = "not recorded", "other values"


@dataclass(frozen=True)
class Groups:
    """The rows by the values of a column.

    Attributes:
        names: Of the groups.
        codes: Number of the group of each row, shape ``[n]``.
    """

    names: list[str]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Gap:
    """A measure of a slice and of the rest, with the widened interval of their difference."""

    of_slice: float
    of_rest: float
    difference: Interval

    def is_worse(self, measure: Measure, allowed: float) -> bool:
        """Whether the whole interval lies further on the bad side than is allowed."""
        if measure == "false_positive_rate":
            return self.difference.low > allowed
        return self.difference.high < -allowed


@dataclass(frozen=True)
class Slice:
    """The winner on the rows of one value of a column.

    Attributes:
        judged: Whether it and the rest have enough rows.
        gaps: By measure; without those that need a class which the slice or the rest has not.
    """

    column: str
    value: str
    rows: int
    positives: int
    judged: bool
    gaps: dict[Measure, Gap]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def falls_behind(self, gate: Gate) -> list[Measure]:
        """The measures by which it is worse than the rest by more than is allowed."""
        if not self.judged:
            return []
        allowed = allowed_gaps(gate)
        return [name for name, gap in self.gaps.items() if gap.is_worse(name, allowed[name])]


def allowed_gaps(gate: Gate) -> dict[Measure, float]:
    """How much worse than the rest a slice may be."""
    return {
        "roc_auc": gate.slice_gap,
        "true_positive_rate": gate.slice_recall_gap,
        "false_positive_rate": gate.slice_false_alarm_gap,
    }


def groups(values: pa.ChunkedArray) -> Groups:
    """Group rows by the values of a column; those of a number or a time by its quartiles.

    Args:
        values: Of the rows that are looked at. Codes of a category are given as texts.
    """
    import pyarrow as pa

    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        return _by_quartile(values)
    return _by_value(values)


def _by_quartile(values: pa.ChunkedArray) -> Groups:
    import numpy as np
    import pandas as pd

    column = pd.Series(values.to_pandas())
    if not column.notna().any():
        return Groups([MISSING], np.zeros(len(column), dtype=np.int64))
    # Values that are there, and not between two of them; often several quartiles are one value.
    edges = sorted(set(column.quantile(list(PARTS), interpolation="lower")))
    names = [f"at most {_shown(edges[0])}"]
    names += [f"above {_shown(low)} to {_shown(high)}" for low, high in pairwise(edges)]
    names += [f"above {_shown(edges[-1])}", MISSING]
    codes = np.searchsorted(pd.Series(edges).to_numpy(), column.to_numpy(), side="left")
    return Groups(names, np.where(column.isna(), len(names) - 1, codes))


def _shown(edge: Any) -> str:
    return str(edge) if hasattr(edge, "isoformat") else f"{float(edge):g}"


def _by_value(values: pa.ChunkedArray) -> Groups:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.fill_null(values.cast(pa.string()), MISSING).combine_chunks().dictionary_encode()
    found, codes = texts.dictionary.to_pylist(), texts.indices.to_numpy().astype(np.int64)
    counts = np.bincount(codes, minlength=len(found))
    kept = sorted(range(len(found)), key=lambda code: (-counts[code], found[code]))[:MOST_VALUES]
    names = sorted(found[code] for code in kept)
    place = np.full(len(found), len(names), dtype=np.int64)
    for code in kept:
        place[code] = names.index(found[code])
    return Groups([*names, OTHERS] if len(found) > len(names) else names, place[codes])


def slices(
    by_column: Mapping[str, Groups],
    target: Floats,
    probability: Floats,
    threshold: float,
    minimum_rows: int,
) -> list[Slice]:
    """Look at the winner by the values of some columns.

    Args:
        by_column: The groups of the rows, by column.
        target: 0 or 1, shape ``[n]``.
        probability: Out-of-fold, shape ``[n]``.
        threshold: Of the decision.
        minimum_rows: Of a slice and of the rest, below which it is not judged.
    """
    ranked, called = Ranked(target, probability), probability >= threshold
    positive, whole = target == 1, ranked.counts()
    hits, alarms = int((called & positive).sum()), int((called & ~positive).sum())
    looked = []
    for column, grouped in by_column.items():
        for code, name in enumerate(grouped.names):
            rows = grouped.codes == code
            ranks, of_called = ranked.counts(rows), positive[rows & called]
            hit = int(of_called.sum())
            alarm = len(of_called) - hit
            part = _Part.of(ranks, hit, alarm)
            if part.rows:
                rest = _Part.of(whole - ranks, hits - hit, alarms - alarm)
                looked.append((column, name, part, rest))
    judged = [min(part.rows, rest.rows) >= minimum_rows for *_, part, rest in looked]
    comparisons = [_comparable(part, rest) for *_, part, rest in looked]
    looks = sum(len(c) for c, enough in zip(comparisons, judged, strict=True) if enough)
    level = score_intervals.shared_level(LEVEL, looks)
    return [
        Slice(
            column,
            name,
            part.rows,
            part.positives,
            enough,
            {measure: _gap(part, rest, measure, level) for measure in measures},
        )
        for (column, name, part, rest), enough, measures in zip(
            looked, judged, comparisons, strict=True
        )
    ]


@dataclass(frozen=True)
class _Part:
    """What is counted of some rows."""

    positives: int
    negatives: int
    hits: int
    alarms: int
    roc_auc: float | None

    @classmethod
    def of(cls, ranks: Counts, hits: int, alarms: int) -> _Part:
        """From the rows of each class and rank, and from those that are called, by class."""
        negatives, positives = (int(count) for count in ranks.sum(axis=1))
        return cls(positives, negatives, hits, alarms, roc_auc(ranks))

    @property
    def rows(self) -> int:
        return self.positives + self.negatives

    def measured(self, measure: Measure, level: float) -> Interval:
        if measure == "true_positive_rate":
            return score_intervals.share(self.hits, self.positives, level)
        if measure == "false_positive_rate":
            return score_intervals.share(self.alarms, self.negatives, level)
        assert self.roc_auc is not None
        return score_intervals.roc_auc(self.roc_auc, self.positives, self.negatives, level)


def _comparable(part: _Part, rest: _Part) -> list[Measure]:
    """The measures for which both have the rows."""
    positives = min(part.positives, rest.positives)
    negatives = min(part.negatives, rest.negatives)
    needed = {
        "roc_auc": min(positives, negatives),
        "true_positive_rate": positives,
        "false_positive_rate": negatives,
    }
    return [measure for measure in get_args(Measure) if needed[measure]]


def _gap(part: _Part, rest: _Part, measure: Measure, level: float) -> Gap:
    one, other = part.measured(measure, level), rest.measured(measure, level)
    return Gap(one.value, other.value, score_intervals.difference(one, other))
