import numpy as np
import pytest

from mlops_assets.lib.evaluation import intervals
from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.evaluation.metrics import metrics
from tests.lib.evaluation.samples import NAMES, Floats, sample


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [8, 40, 240])
def test_interval_holds_the_value(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probability = random.beta(2, 2, rows)
    # Well calibrated: chance gaps are all that the calibration error sees.
    target = (random.random(rows) < probability).astype(np.float64)
    target[:2] = 0, 1
    for name, interval in with_intervals(target, probability, 0.5, seed=seed).items():
        assert interval.low <= interval.value <= interval.high, name
        assert interval.low >= 0, name
        assert interval.high <= 1 or name in ("log_loss", "calibration_error"), name


def test_interval_is_repeatable_with_its_seed() -> None:
    target, probability = sample(100, seed=1)
    first = with_intervals(target, probability, 0.5, seed=1)
    assert first == with_intervals(target, probability, 0.5, seed=1)
    other = with_intervals(target, probability, 0.5, seed=2)
    assert {n: i.value for n, i in first.items()} == {n: i.value for n, i in other.items()}
    assert first["roc_auc"].low != other["roc_auc"].low


def test_more_rows_make_narrower_intervals() -> None:
    widths = []
    for rows in (50, 200, 3200):
        found = with_intervals(*sample(rows, seed=5), 0.5, seed=5)["roc_auc"]
        widths.append(found.high - found.low)
    assert widths[0] > 1.5 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "share"),
    [
        (0.8, 0.8, 0.4),
        # Where they differ, accuracy varies with the share of positives as well.
        (0.3, 0.98, 0.5),
    ],
)
def test_interval_of_accuracy_covers_the_truth(
    sensitivity: float, specificity: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    truth = share * sensitivity + (1 - share) * specificity
    random = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        target = (random.random(150) < share).astype(np.float64)
        right = random.random(150) < np.where(target == 1, sensitivity, specificity)
        probability = np.where(right == (target == 1), 0.8, 0.2)
        found = with_intervals(target, probability, 0.5, seed=seed)["accuracy"]
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_of_the_calibration_error_reaches_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The percentile interval covered the truth in 16 of 100 such samples: chance gaps add up twice.
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    random = np.random.default_rng(12)
    x = random.beta(2, 2, 500_000)
    truth = metrics(np.clip(x + 0.05, 0, 1), x, 0.5, np.ones((1, len(x))))["calibration_error"][0]
    covered = 0
    for seed in range(100):
        probability = random.beta(2, 2, 240)
        target = (random.random(240) < probability + 0.05).astype(np.float64)
        found = with_intervals(target, probability, 0.5, seed=seed)["calibration_error"]
        covered += found.low <= truth <= found.high
    assert covered >= 80


def by_group(target: Floats, probability: Floats, threshold: float = 0.5) -> dict[str, Interval]:
    """The intervals as they are found for many rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "EXACT_ROWS", 0)
        return with_intervals(target, probability, threshold, seed=3)


@pytest.mark.parametrize("ties", [False, True])
def test_groups_of_many_rows_give_the_intervals_of_the_rows(ties: bool) -> None:
    target, probability = sample(4000, seed=6, ties=ties)
    exact, found = (
        with_intervals(target, probability, 0.4, seed=3),
        by_group(target, probability, 0.4),
    )
    for name in NAMES:
        assert found[name].value == exact[name].value
        # The ends of two runs with another seed lie some 0.03 widths apart.
        close = 0.12 * (exact[name].high - exact[name].low)
        assert found[name].low == pytest.approx(exact[name].low, abs=close), name
        assert found[name].high == pytest.approx(exact[name].high, abs=close), name


def test_groups_keep_scores_that_tell_all_or_nothing() -> None:
    target = np.repeat([0.0, 1.0], 1500)
    perfect = by_group(target, np.linspace(0, 1, 3000))
    for name in ("roc_auc", "pr_auc", "accuracy", "precision", "recall", "f1"):
        assert perfect[name].value == perfect[name].high == 1, name
        assert perfect[name].low > 0.99, name
    # A mean of many 0.3 may be less than 0.3 by rounding.
    alike = by_group(target, np.full(3000, 0.3), 0.3)
    assert alike["recall"] == Interval(1, 1, 1)
    assert alike["roc_auc"] == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize("target", [[0.0, 0.0], [1.0, 1.0, 1.0], []])
def test_one_class_has_no_metrics(target: list[float]) -> None:
    values = np.array(target)
    with pytest.raises(ValueError, match=f"{len(values)} rows, .*: both classes are needed"):
        with_intervals(values, np.full(len(values), 0.5), 0.5, seed=1)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused(odd: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 probabilities are not between 0 and 1"):
        with_intervals(np.array([0.0, 1.0, 1.0]), np.array([0.2, odd, 0.9]), 0.5, seed=1)


def test_chunks_of_any_size_give_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    target, probability = sample(40, seed=8)
    whole = with_intervals(target, probability, 0.5, seed=8)
    for cells in (1, 40 * 7):
        monkeypatch.setattr(intervals, "CHUNK_CELLS", cells)
        found = with_intervals(target, probability, 0.5, seed=8)
        for name in NAMES:
            assert found[name].as_dict() == pytest.approx(whole[name].as_dict()), name


def test_interval_can_be_read_and_stored() -> None:
    interval = Interval(0.87654, 0.8, 0.9)
    assert str(interval) == "0.877 (0.800 to 0.900)"
    assert Interval(**interval.as_dict()) == interval
