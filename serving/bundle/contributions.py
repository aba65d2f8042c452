"""Contributions: how much each feature moved one answer away from the usual one.

Shapley values by sampled permutations, each walked in both directions (Strumbelj and Kononenko
2014; antithetic pairs as in Mitchell, Cooper, Frank and Holmes 2022). Nothing is assumed about the
model, so that the report of a training run and an answer of the serving app are explained alike,
from the same ONNX file and without the library that trained it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Probabilities = NDArray[np.float64]
# Points that are handed to the model at once; 100 features of 4 bytes make 13 MB of them.
CHUNK_POINTS = 32_768


def contributions(
    predict: Callable[[Features], Probabilities], rows: Features, background: Features, seed: int
) -> Probabilities:
    """Shapley values of some rows.

    For each background row one permutation of the features is drawn; walking it, each feature in
    turn takes the value that the explained row has, and is credited with the change of the answer.

    Args:
        predict: Probability of the positive class by row.
        rows: What to explain, float32 ``[n, f]``.
        background: Usual rows, float32 ``[b, f]``; 16 or more.
        seed: Makes the permutations repeatable.

    Returns:
        float64 ``[n, f]``. The values of a row sum up to its probability less the mean probability
        of the background, whatever was drawn.

    Raises:
        ValueError: If the background is empty or has other features.
    """
    count, features = background.shape
    if not count or rows.shape[1] != features:
        raise ValueError(f"{rows.shape[1]} features against a background of {background.shape}")
    random = np.random.default_rng(seed)
    forth = np.argsort(random.random((count, features)), axis=1)
    ranks = np.concatenate([forth, features - 1 - forth])
    # [2b, f + 1, f]: at step k of a walk, the features of the lowest k ranks are the row's own.
    own = ranks[:, None, :] < np.arange(features + 1)[None, :, None]
    usual = np.concatenate([background, background])[:, None, :]
    walks, steps = own.shape[:2]
    at_once = max(1, CHUNK_POINTS // (walks * steps))
    found = np.empty(rows.shape, np.float64)
    for first in range(0, len(rows), at_once):
        chunk = rows[first : first + at_once]
        points = np.where(own, chunk[:, None, None, :], usual).astype(np.float32)
        answers = predict(points.reshape(-1, features)).reshape(len(chunk), walks, steps)
        gains = np.diff(answers, axis=2)
        # The gain of step k belongs to the feature of rank k.
        credited = np.take_along_axis(gains, np.broadcast_to(ranks, (len(chunk), *ranks.shape)), 2)
        found[first : first + at_once] = credited.mean(axis=1)
    return found
