"""What the app has counted, and by how much that grew.

A source (a server, a pod, or Prometheus for all of them) gives counters that only grow until it is
started anew. What happened during a step is how much they grew from look to look, added up over
the sources.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

ANSWERS = "serving_answer_seconds_bucket"
ERRORS = "serving_answer_errors_total"
SCORES = "serving_prediction_probability_bucket"
OUT_OF_RANGE = "serving_out_of_range_total"
SHADOW = "serving_shadow_total"
NAMES = (ANSWERS, ERRORS, SCORES, OUT_OF_RANGE, SHADOW)
# That tell apart what is counted; a server's or a pod's own are added up.
LABELS = ("role", "version", "le", "reason", "column", "outcome")


class Series(NamedTuple):
    """One counter: its name, and its labels in the order of ``LABELS``, empty if it has not."""

    name: str
    role: str = ""
    version: str = ""
    le: str = ""
    reason: str = ""
    column: str = ""
    outcome: str = ""


Counters = dict[Series, float]


def read(text: str, use_case: str) -> Counters:
    """The counters of a use case in Prometheus' text format.

    Raises:
        ValueError: If it is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: Counters = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in NAMES and sample.labels.get("use_case") == use_case:
                found[series(sample.name, sample.labels)] = sample.value
    return found


def series(name: str, labels: Mapping[str, str]) -> Series:
    """A series by its labels, without those that do not matter."""
    return Series(name, *(labels.get(label, "") for label in LABELS))


def grown(before: Mapping[Series, float], now: Mapping[Series, float]) -> Counters:
    """By how much the counters of one source grew; one that fell began anew at zero."""
    return {
        each: value - (old if (old := before.get(each, 0.0)) <= value else 0.0)
        for each, value in now.items()
    }


def together(parts: Iterable[Mapping[Series, float]]) -> Counters:
    """The sums over several sources."""
    total: Counter[Series] = Counter()
    for part in parts:
        for each, value in part.items():
            total[each] += value  # type: ignore[assignment]
    return dict(total)
