"""How two distributions of a number differ: Kolmogorov-Smirnov, Wasserstein, stability index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.lib.drift.grid import Grid
from mlops_assets.lib.drift.stability import stability_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Difference:
    """The figures of a number with values on both sides.

    Attributes:
        statistic: Kolmogorov-Smirnov: the largest distance of the distribution functions.
        statistic_error: By how much the exact statistic may be larger; 0 where a side is small.
        p_value: Of the statistic, two-sided, by the asymptotic law.
        wasserstein: Of order 1, in the units of the column.
        shift: The same in standard deviations of the reference; None where it is constant.
        stability_index: Over the deciles of the reference.
    """

    statistic: float
    statistic_error: float
    p_value: float
    wasserstein: float
    shift: float | None
    stability_index: float


def difference(grid: Grid) -> Difference:
    """Compare the two sides of a grid. Both have a value.

    The statistic is the largest distance at the ends of the cells, so never above the exact one.
    Inside a gap one function rises by at most the values that its side has there, while the other
    does not fall: the exact statistic is larger by at most the smaller of the two shares.
    """
    import numpy as np
    from scipy.stats import kstwo

    reference, current = grid.reference, grid.current
    shares = [side.counts / side.values for side in (reference, current)]
    apart = np.cumsum(shares[0]) - np.cumsum(shares[1])
    statistic = float(np.abs(apart).max())
    rows = reference.values * current.values / (reference.values + current.values)
    distance = wasserstein(grid.points, apart)
    return Difference(
        statistic=statistic,
        statistic_error=float(np.minimum(*shares)[0::2].max()),
        p_value=float(np.clip(kstwo.sf(statistic, max(np.round(rows), 1)), 0, 1)),
        wasserstein=distance,
        shift=distance / reference.deviation if _spreads(reference.deviation, grid) else None,
        stability_index=stability_index(*_binned(reference.counts, current.counts)),
    )


def wasserstein(points: NDArray[np.float64], apart: NDArray[np.float64]) -> float:
    """The area between two distribution functions.

    Args:
        points: Of the grid, shape (P,).
        apart: Difference of the functions at the end of each cell, shape (2 P + 1,).

    Returns:
        The area, each function being a straight line within a gap: exact where no value is there.
    """
    import numpy as np

    # After a point, and right before the next.
    first, last = apart[1:-2:2], apart[2:-1:2]
    sizes = np.abs(first) + np.abs(last)
    crossing = first * last < 0
    squares = np.where(crossing, first**2 + last**2, sizes**2)
    heights = np.divide(squares, 2 * sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return float((np.diff(points) * heights).sum())


def _spreads(deviation: float, grid: Grid) -> bool:
    """Whether a reference has more than one value; rounding leaves a constant some deviation."""
    import numpy as np

    return bool(deviation > 0 and np.count_nonzero(grid.reference.counts) > 1)


def _binned(
    reference: NDArray[np.int64], current: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts of the deciles of the reference.

    A bin ends at a point. A point that holds a decile of its own is a bin of its own, so that what
    leaves it is seen on whichever side it goes to.
    """
    import numpy as np

    share = np.cumsum(reference) / reference.sum()
    levels = np.arange(1, BINS) / BINS
    # The cell where a decile lies, or the point right above it.
    ends = np.searchsorted(share, levels - 1e-12)
    ends += (ends + 1) % 2
    heavy = 2 * np.flatnonzero(reference[1::2] * BINS >= reference.sum()) + 1
    ends = np.unique(np.concatenate([ends, heavy, heavy - 1]))
    starts = np.concatenate([[0], ends[ends < len(reference) - 1] + 1])
    return np.add.reduceat(reference, starts), np.add.reduceat(current, starts)
