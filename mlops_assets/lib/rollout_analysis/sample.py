"""What two versions did during a step, as counts."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlops_assets.lib.rollout_analysis.counters import (
    ANSWERS,
    ERRORS,
    OUT_OF_RANGE,
    SCORES,
    SHADOW,
    Series,
)


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each bucket.

    Attributes:
        bounds: Upper ends of the buckets, ascending, the last one infinite.
        counts: Of each bucket alone.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """The number of values."""
        return sum(self.counts)


@dataclass(frozen=True)
class Labelled:
    """Answers of which it is known what was true.

    Attributes:
        rows: How many.
        wrong: Of them.
    """

    rows: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class Side:
    """What one version did in one role.

    Attributes:
        seconds: Time of each request that it answered.
        errors: Requests that it was asked and did not answer, by reason.
        scores: Probabilities of its rows.
        out_of_range: Values that its training never saw, by column.
        labelled: Its answers with a label.
    """

    seconds: Histogram = Histogram()
    errors: Mapping[str, int] = field(default_factory=dict)
    scores: Histogram = Histogram()
    out_of_range: Mapping[str, int] = field(default_factory=dict)
    labelled: Labelled = Labelled()

    @property
    def failed(self) -> int:
        """Requests that it did not answer."""
        return sum(self.errors.values())

    @property
    def requests(self) -> int:
        """Requests that it was asked."""
        return self.seconds.total + self.failed


@dataclass(frozen=True)
class Sample:
    """What happened during a step.

    Attributes:
        champion: Who answered before.
        trial: The version that is rolled out.
        agreed: Rows where the shadow's class was the answer's.
        disagreed: Rows where it was not.
    """

    champion: Side
    trial: Side
    agreed: int = 0
    disagreed: int = 0


def sample(
    grown: Mapping[Series, float],
    champion: str,
    role: str,
    version: str,
    labelled: Mapping[tuple[str, str], Labelled] | None = None,
) -> Sample:
    """Sort what the counters grew by.

    Args:
        grown: Since the step began, of all servers together.
        champion: The version that answered before.
        role: Of the version that is rolled out.
        version: Its number.
        labelled: Answers with a label, by role and version.
    """
    known = labelled or {}
    outcomes: dict[str, int] = defaultdict(int)
    for each, value in grown.items():
        if each.name == SHADOW:
            outcomes[each.outcome] += round(value)
    return Sample(
        _side(grown, "champion", champion, known),
        _side(grown, role, version, known),
        outcomes["agreed"],
        outcomes["disagreed"],
    )


def _side(
    grown: Mapping[Series, float],
    role: str,
    version: str,
    labelled: Mapping[tuple[str, str], Labelled],
) -> Side:
    own = {e: v for e, v in grown.items() if (e.role, e.version) == (role, version)}
    return Side(
        _histogram(own, ANSWERS),
        {e.reason: round(v) for e, v in own.items() if e.name == ERRORS and round(v)},
        _histogram(own, SCORES),
        {e.column: round(v) for e, v in own.items() if e.name == OUT_OF_RANGE and round(v)},
        labelled.get((role, version), Labelled()),
    )


def _histogram(own: Mapping[Series, float], name: str) -> Histogram:
    # Prometheus counts in each bucket all that is at or below its bound.
    upto = sorted((float(e.le), round(value)) for e, value in own.items() if e.name == name)
    if not upto:
        return Histogram()
    bounds, counts, before = [], [], 0
    for bound, value in upto:
        bounds.append(bound)
        # Rounded rates of several scrapes may go back by one.
        counts.append(max(0, value - before))
        before = max(before, value)
    return Histogram((*bounds[:-1], math.inf), tuple(counts))
