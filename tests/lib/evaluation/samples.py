"""Outcomes and scores for tests of the metrics and of their intervals."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAMES = [
    "roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "log_loss",
    "brier_score", "calibration_error",
]  # fmt: skip


def sample(rows: int, seed: int, *, ties: bool = False) -> tuple[Floats, Floats]:
    """Outcomes and probabilities that are somewhat related; with ties, of eleven values."""
    random = np.random.default_rng(seed)
    probability = random.beta(2, 2, rows)
    target = (random.random(rows) < 0.2 + 0.6 * probability).astype(np.float64)
    target[:2] = 0, 1
    return target, np.round(probability, 1) if ties else probability
