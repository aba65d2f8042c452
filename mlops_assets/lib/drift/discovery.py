"""Many tests of one window: which p-values count, and the test of two shares."""

from __future__ import annotations

from collections.abc import Sequence


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values ("Controlling the false discovery rate", 1995).

    Those of at most ``q`` are found with an expected share of at most ``q`` false ones among them.
    It holds for independent tests and for such that depend on each other positively, as those of
    columns do that move together. Benjamini and Yekutieli's version (2001) holds for every
    dependence, at four times the strictness for 30 tests; it would miss what is looked for here.
    """
    import numpy as np

    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(p[order] * len(p) / ranks)
    return [float(value) for value in found]


def two_shares(reference: tuple[int, int], current: tuple[int, int]) -> float:
    """The p-value of the difference of two shares: the pooled two-sided test.

    Args:
        reference: Rows that are counted, of how many.
        current: The same. Both have rows.
    """
    from scipy.stats import norm

    total = reference[1] + current[1]
    pooled = (reference[0] + current[0]) / total
    variance = pooled * (1 - pooled) * (1 / reference[1] + 1 / current[1])
    if variance == 0:
        return 1.0
    gap = reference[0] / reference[1] - current[0] / current[1]
    return float(2 * norm.sf(abs(gap) / variance**0.5))
