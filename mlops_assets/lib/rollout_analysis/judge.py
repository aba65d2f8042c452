"""The verdict on a step: successful, failed or inconclusive, with the numbers of every measure.

A measure has failed when it is *surely* above its limit, and is successful when it is at or below
it with enough rows. What lies between, or rests on too few rows, is inconclusive. A step is looked
at several times while it runs, so the chance of a false alarm is divided among looks and measures.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlops_assets.lib.rollout_analysis.bounds import (
    Bounded,
    difference,
    percentile,
    ratio,
    score_shift,
    share,
)
from mlops_assets.lib.rollout_analysis.sample import Sample, Side
from mlops_assets.lib.spec.rollout import Analysis, Role

Verdict = Literal["successful", "failed", "inconclusive"]
# The champion's number, and that of the version.
Both = tuple[float | None, float | None]
# In each length of a step.
LOOKS = 10
MEASURES = 6


@dataclass(frozen=True)
class Measure:
    """One question about a version, and what was found.

    Attributes:
        name: What is measured.
        champion: Its number for the champion; None where it has none, or none was seen.
        trial: The same for the version that is rolled out.
        value: What is held against the limit.
        low: Surely not less.
        high: Surely not more; None for no bound.
        limit: The largest that is fine.
        rows: Of the version, and of the champion where it is compared: the smaller number.
        verdict: What follows.
    """

    name: str
    champion: float | None
    trial: float | None
    value: float | None
    low: float | None
    high: float | None
    limit: float
    rows: int
    verdict: Verdict

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: nothing was seen"
        sure = "" if self.verdict != "failed" else f", surely above {self.low:.3g}"
        return f"{self.name} {self.value:.3g}{sure} (limit {self.limit:g}, {self.rows} rows)"


@dataclass(frozen=True)
class Judgement:
    """What a step came to.

    Attributes:
        verdict: The worst of the measures.
        said: Why, in a sentence.
        too_few: Whether only a want of rows stands against success.
        measures: All of them.
    """

    verdict: Verdict
    said: str
    too_few: bool
    measures: list[Measure]

    def record(self) -> dict[str, Any]:
        """The same as JSON-compatible values."""
        return asdict(self)


def judge(found: Sample, role: Role, limits: Analysis) -> Judgement:
    """Judge what happened during a step, so far or at its end.

    Args:
        found: What the app counted since the step began.
        role: Of the version that is rolled out.
        limits: What it may do worse than the champion.
    """
    level = limits.false_alarm / (LOOKS * (1 + limits.retries) * MEASURES)
    measures = list(_measures(found, role, limits, level))
    failed = [m for m in measures if m.verdict == "failed"]
    open_ = [m for m in measures if m.verdict == "inconclusive"]
    few = [m for m in open_ if m.rows < limits.minimum_rows]
    if failed:
        return Judgement("failed", "; ".join(map(str, failed)), False, measures)
    over = [m for m in open_ if m.value is not None and m.value > m.limit]
    if over:
        said = f"not surely within the limits: {'; '.join(map(str, over))}"
        return Judgement("inconclusive", said, False, measures)
    if few:
        least = min(m.rows for m in few)
        said = f"too little traffic: {least} rows of the {limits.minimum_rows} that are wanted"
        return Judgement("inconclusive", said, True, measures)
    return Judgement("successful", "every measure is within its limit", False, measures)


def _measures(found: Sample, role: Role, limits: Analysis, level: float) -> Iterator[Measure]:
    ours, theirs = found.trial, found.champion
    least = limits.minimum_rows

    def measure(
        name: str,
        bounded: Bounded | None,
        limit: float,
        rows: int,
        both: Both,
    ) -> Measure:
        verdict: Verdict = "inconclusive"
        if bounded is not None and bounded.low > limit:
            verdict = "failed"
        elif bounded is not None and bounded.value <= limit and rows >= least:
            verdict = "successful"
        value, low, high = bounded if bounded is not None else (None, None, None)
        # JSON knows no infinity.
        high = None if high == float("inf") else high
        return Measure(name, *both, value, low, high, limit, rows, verdict)

    failing = [share(side.failed, side.requests, level) for side in (theirs, ours)]
    rows = min(ours.requests, theirs.requests)
    both: Both = (failing[0].value, failing[1].value)
    apart = difference(failing[1], failing[0]) if rows else None
    yield measure("error rate, above the champion's", apart, limits.error_rate, rows, both)

    rows = min(ours.seconds.total, theirs.seconds.total)
    took = [percentile(s.seconds, level) if s.seconds.total else None for s in (theirs, ours)]
    both = (took[0] and took[0].value, took[1] and took[1].value)
    times = ratio(took[1], took[0], limits.latency_floor_seconds) if took[0] and took[1] else None
    yield measure("p95 of seconds, times the champion's", times, limits.latency_ratio, rows, both)
    own = ours.seconds.total
    yield measure("p95 of seconds", took[1], limits.latency_p95_seconds, own, (None, both[1]))

    rows = min(ours.labelled.rows, theirs.labelled.rows)
    # Without labels in time there is nothing to ask, and nothing to wait for.
    if rows >= least:
        wrong = [share(side.labelled.wrong, side.labelled.rows, level) for side in (theirs, ours)]
        both = (wrong[0].value, wrong[1].value)
        apart = difference(wrong[1], wrong[0])
        yield measure(
            "wrong answers, above the champion's", apart, limits.wrong_answers, rows, both
        )

    rows = min(ours.scores.total, theirs.scores.total)
    shift = score_shift(ours.scores, theirs.scores, level) if rows else None
    yield measure("shift of the scores", shift, limits.score_shift, rows, (None, None))
    if role == "shadow":
        rows = found.agreed + found.disagreed
        apart = share(found.disagreed, rows, level) if rows else None
        yield measure("disagreement", apart, limits.disagreement, rows, (None, None))
    else:
        worst, both = _out_of_range(ours, theirs, level)
        yield measure("values out of range", worst, limits.out_of_range, rows, both)


def _out_of_range(ours: Side, theirs: Side, level: float) -> tuple[Bounded | None, Both]:
    """The column whose values are most surely out of range more often than the champion's."""
    rows = (ours.scores.total, theirs.scores.total)
    columns = {*ours.out_of_range, *theirs.out_of_range}
    if not all(rows):
        return None, (None, None)
    if not columns:
        return Bounded(0.0, 0.0, 0.0), (0.0, 0.0)
    found = []
    for column in sorted(columns):
        own = share(ours.out_of_range.get(column, 0), rows[0], level / len(columns))
        other = share(theirs.out_of_range.get(column, 0), rows[1], level / len(columns))
        found.append((difference(own, other), (other.value, own.value)))
    return max(found, key=lambda each: (each[0].low, each[0].value))
