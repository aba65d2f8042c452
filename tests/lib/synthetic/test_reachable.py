"""The best reachable ROC AUC, against counting pairs one by one and against drawn outcomes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.evaluation.metrics import metrics
from mlops_assets.lib.synthetic.reachable import BestAuc, best_auc

# Among them few values, so that many are equal.
FEW = st.sampled_from([0.0, 0.1, 0.1 + 1e-9, 0.5, 0.9, 1.0])
PROBABILITIES = st.lists(FEW | st.floats(0, 1), min_size=2, max_size=12)


def pair_by_pair(probability: list[float]) -> float | None:
    area = pairs = 0.0
    for i, p in enumerate(probability):
        for j, q in enumerate(probability):
            if i != j:
                pairs += p * (1 - q)
                area += p * (1 - q) * ((p > q) + (p == q) / 2)
    return area / pairs if pairs > 1e-9 else None


@settings(deadline=None)
@given(PROBABILITIES)
def test_it_is_the_share_of_pairs_ranked_right(probability: list[float]) -> None:
    expected = pair_by_pair(probability)
    if expected is not None:
        assert best_auc(np.array(probability)) == pytest.approx(expected, abs=1e-6)


def test_drawn_outcomes_give_it_on_average_and_no_other_score_gives_more() -> None:
    random = np.random.default_rng(3)
    probability = random.beta(1, 5, 4000)
    outcomes = (random.random((40, 4000)) < probability).astype(float)
    other = probability + random.normal(0, 0.05, 4000)

    def average(score: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        rank = score.argsort().argsort() / 4000
        one = np.ones((1, 4000))
        return float(np.mean([metrics(y, rank, 0.5, one)["roc_auc"][0] for y in outcomes]))

    assert average(probability) == pytest.approx(best_auc(probability), abs=0.003)
    assert average(other) < average(probability) - 0.005


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0.3, 0.3), (20, 200)])
def test_chunks_give_the_same_as_all_at_once(shape: tuple[float, float]) -> None:
    probability = np.random.default_rng(0).beta(*shape, 30_000)
    found = BestAuc()
    for chunk in np.array_split(probability, 7):
        found.add(chunk)
    assert found.value() == pytest.approx(best_auc(probability), abs=1e-6)
    # What is kept of two files gives that of the rows of both.
    other = BestAuc()
    other.add(probability[:100] / 2)
    kept = json.loads(json.dumps([found.as_dict(), other.as_dict()]))
    together = best_auc(np.concatenate([probability, probability[:100] / 2]))
    assert BestAuc.of(kept).value() == pytest.approx(together, abs=1e-3)


@pytest.mark.parametrize("probability", [[], [0.5], [0.0, 0.0], [1.0, 1.0, 1.0]])
def test_one_class_has_no_best(probability: list[float]) -> None:
    with pytest.raises(ValueError, match="two rows that can be of both classes"):
        best_auc(np.array(probability))
    chunks = BestAuc()
    chunks.add(np.array(probability))
    with pytest.raises(ValueError, match="two rows that can be of both classes"):
        chunks.value()
