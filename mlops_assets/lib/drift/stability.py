"""The population stability index, of numbers in bins and of categories alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Jeffreys' prior: an empty bin counts as half a row, so it weighs less the fewer rows there are.
PRIOR = 0.5


def stability_index(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """The population stability index (Siddiqi, "Credit risk scorecards", 2006).

    Args:
        reference: Rows in each bin, shape (B,).
        current: The same.

    Returns:
        The sum of ``(c - r) ln(c / r)`` over the shares of the bins; 0 where nothing differs. Bins
        that are empty on both sides are left out.
    """
    import numpy as np

    kept = (reference + current) > 0
    shares = [
        (side[kept] + PRIOR) / (side.sum() + PRIOR * kept.sum()) for side in (reference, current)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
