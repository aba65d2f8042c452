"""Judging a version by counts: bounds that hold, verdicts that follow, counters that begin anew."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lib.rollout_analysis.bounds import difference, percentile, score_shift, share
from mlops_assets.lib.rollout_analysis.counters import Series, grown, read, together
from mlops_assets.lib.rollout_analysis.judge import judge
from mlops_assets.lib.rollout_analysis.sample import Histogram, Sample, Side, sample
from mlops_assets.lib.spec.rollout import Analysis
from serving.metrics import Metrics

BOUNDS = (0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, math.inf)
TENTHS = (*(n / 10 for n in range(1, 11)), math.inf)
LIMITS = Analysis()


def side(
    seconds: Any, scores: Any = (), errors: int = 0, out_of_range: dict[str, int] | None = None
) -> Side:
    return Side(
        histogram(BOUNDS, seconds),
        {"failed": errors} if errors else {},
        histogram(TENTHS, scores),
        out_of_range or {},
    )


def histogram(bounds: tuple[float, ...], values: Any) -> Histogram:
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    return Histogram(bounds, tuple(counts.tolist()))


def usual(seed: int, rows: int, **changes: Any) -> Side:
    random = np.random.default_rng(seed)
    given: dict[str, Any] = {
        "seconds": random.gamma(4.0, 0.001, rows),
        "scores": random.beta(2, 3, rows),
    }
    return side(**(given | changes))


def test_an_equal_version_is_successful() -> None:
    found = judge(Sample(usual(1, 3000), usual(2, 300)), "challenger", LIMITS)
    assert found.verdict == "successful", found.said
    json.dumps(found.record(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("error rate", {"errors": 60}),
        ("p95 of seconds, times", {"seconds": np.full(300, 0.08)}),
        ("p95 of seconds", {"seconds": np.full(300, 0.9)}),
        ("shift of the scores", {"scores": np.random.default_rng(3).beta(6, 2, 300)}),
        ("values out of range", {"out_of_range": {"age": 90}}),
    ],
)
def test_each_measure_fails_a_version_that_is_surely_worse(
    name: str, changes: dict[str, Any]
) -> None:
    found = judge(Sample(usual(1, 3000), usual(2, 300, **changes)), "challenger", LIMITS)
    assert found.verdict == "failed"
    assert name in found.said
    assert not found.too_few


def test_a_shadow_that_disagrees_fails() -> None:
    both = (usual(1, 500), usual(2, 500))
    assert judge(Sample(*both, 480, 20), "shadow", LIMITS).verdict == "successful"
    found = judge(Sample(*both, 250, 250), "shadow", LIMITS)
    assert (found.verdict, found.said[:16]) == ("failed", "disagreement 0.5")


def test_what_is_not_sure_is_inconclusive() -> None:
    over = judge(Sample(usual(1, 3000), usual(2, 150, errors=4)), "challenger", LIMITS)
    assert (over.verdict, over.too_few) == ("inconclusive", False)
    assert "not surely within the limits: error rate" in over.said
    few = judge(Sample(usual(1, 3000), usual(2, 40)), "challenger", LIMITS)
    assert (few.verdict, few.too_few) == ("inconclusive", True)
    assert few.said == "too little traffic: 40 rows of the 100 that are wanted"
    nothing = judge(Sample(Side(), Side()), "shadow", LIMITS)
    assert (nothing.verdict, nothing.too_few) == ("inconclusive", True)


def test_a_version_that_answers_nothing_fails_before_there_are_many_rows() -> None:
    found = judge(Sample(usual(1, 200), side((), (), 12)), "challenger", LIMITS)
    assert found.verdict == "failed"


def test_a_fault_that_the_champion_has_too_is_no_reason() -> None:
    found = judge(
        Sample(usual(1, 3000, errors=600), usual(2, 300, errors=58)), "challenger", LIMITS
    )
    assert found.verdict == "successful", found.said


@given(
    rows=st.integers(100, 4000),
    errors=st.integers(0, 400),
    ours=st.integers(20, 2000),
    more=st.integers(0, 50),
)
def test_more_errors_are_never_a_better_verdict(
    rows: int, errors: int, ours: int, more: int
) -> None:
    order = ["successful", "inconclusive", "failed"]
    champion = usual(1, rows, errors=errors)
    seen = [
        judge(Sample(champion, usual(2, ours, errors=n)), "challenger", LIMITS).measures[0]
        for n in (errors, errors + more)
    ]
    assert order.index(seen[1].verdict) >= order.index(seen[0].verdict)


def test_the_bounds_hold_as_often_as_they_say() -> None:
    """Of 2,000 samples of a known truth, the share of bounds at 5 % that are wrong."""
    random = np.random.default_rng(5)
    truth = {
        "share": 0.1,
        "apart": 0.05,
        "p95": float(np.quantile(random.gamma(4, 1e-3, 10**6), 0.95)),
    }
    wrong = dict.fromkeys(truth, 0)
    for _ in range(2000):
        ours, theirs = (share(int(random.binomial(300, p)), 300, 0.05) for p in (0.1, 0.05))
        wrong["share"] += ours.low > truth["share"]
        wrong["apart"] += difference(ours, theirs).low > truth["apart"]
        times = percentile(histogram(BOUNDS, random.gamma(4, 1e-3, 300)), 0.05)
        wrong["p95"] += times.low > truth["p95"]
    assert all(count <= 0.07 * 2000 for count in wrong.values()), wrong


def test_equal_scores_are_never_surely_apart_and_seldom_seem_so() -> None:
    random = np.random.default_rng(7)
    drawn = []
    for _ in range(500):
        ours, theirs = (histogram(TENTHS, random.beta(2, 3, rows)) for rows in (100, 1000))
        drawn.append(score_shift(ours, theirs, 0.05))
    assert max(found.low for found in drawn) == 0
    assert sum(found.value > LIMITS.score_shift for found in drawn) <= 5
    apart = score_shift(histogram(TENTHS, [0.05] * 60), histogram(TENTHS, [0.95] * 600), 1e-4)
    assert (apart.value, apart.low > LIMITS.score_shift) == (1.0, True)


def test_what_the_app_counts_is_read_by_role_and_version() -> None:
    metrics = Metrics(["heart", "churn"])
    for role, version, seconds in (("champion", "1", 0.004), ("challenger", "2", 0.02)):
        for _ in range(10):
            metrics.answered("heart", role, version, seconds)
            metrics.answered("churn", role, version, seconds)
            metrics.prediction("heart", role, version, "1", 0.35)
    metrics.unanswered("heart", "challenger", "2", "late")
    metrics.out_of_range("heart", "challenger", "2", "age")
    metrics.shadow("heart", "disagreed", 3)
    first = read(metrics.text().decode(), "heart")
    metrics.answered("heart", "champion", "1", 0.004)
    now = read(metrics.text().decode(), "heart")
    whole = sample(now, "1", "challenger", "2")
    assert (whole.champion.requests, whole.trial.requests, whole.trial.failed) == (11, 11, 1)
    assert whole.trial.out_of_range == {"age": 1}
    assert whole.trial.scores.counts[3] == whole.trial.scores.total == 10
    assert whole.disagreed == 3
    assert 0.015 < percentile(whole.trial.seconds, 0.05).value <= 0.02
    since = sample(grown(first, now), "1", "challenger", "2")
    assert (since.champion.requests, since.trial.requests) == (1, 0)


def test_a_counter_that_began_anew_counts_from_zero_and_sources_add_up() -> None:
    one, other = Series("a"), Series("a", role="champion")
    assert grown({one: 10.0, other: 5.0}, {one: 4.0, other: 7.0}) == {one: 4.0, other: 2.0}
    assert together([{one: 1.0}, {one: 2.0, other: 3.0}]) == {one: 3.0, other: 3.0}
