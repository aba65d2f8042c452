"""Folds that keep apart what belongs together, and the later from the earlier.

One place says which rows a model may be fitted on and which it is scored on, for the contest, the
search, the calibration and the stacked ensemble alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]
    Fold = tuple[Whole, Whole]

DAY = 86_400_000_000


@dataclass(frozen=True)
class Ties:
    """What binds rows to each other; without any, rows are drawn as they come.

    Attributes:
        group: Rows of one number are never on both sides of a fold, shape ``[n]``.
        time: Microseconds; a model is fitted on earlier rows than it is scored on, shape ``[n]``.
        gap: Microseconds before the scored rows from which nothing is fitted.
    """

    group: Whole | None = None
    time: Whole | None = None
    gap: int = 0

    def of(self, rows: Any) -> Ties:
        """The ties of some of the rows."""
        group = None if self.group is None else self.group[rows]
        return Ties(group, None if self.time is None else self.time[rows], self.gap)


FREE = Ties()


def folds(target: Floats, count: int, seed: int, ties: Ties = FREE) -> list[Fold]:
    """Rows to fit on and rows to score, as indices.

    Without time each row is scored once, and the classes are shared out evenly. With time the rows
    lie in ``count + 1`` blocks of about equal size, one moment never in two: each block but the
    oldest is scored once, by a fit on all the older ones.

    Args:
        target: 0 or 1, shape ``[n]``.
        count: How many.
        seed: Of the draw; time leaves nothing to be drawn.
        ties: What binds rows to each other.

    Raises:
        ValueError: If there are too few rows, groups or moments, or a class is missing where a
            model is fitted or in all that is scored.
    """
    import numpy as np

    if ties.time is not None:
        made = _forward(ties.time, count, ties)
    elif ties.group is not None:
        made = _grouped(target, ties.group, count, seed)
    else:
        made = _stratified(target, count, seed)
    for number, (seen, unseen) in enumerate(made, start=1):
        what = f"fold {number} of {count}: the rows to fit on"
        _need_both(target[seen], what, _when(ties, unseen))
    _need_both(target[np.concatenate([unseen for _, unseen in made])], "the rows to score")
    return made


def _need_both(target: Floats, what: str, when: str = "") -> None:
    positives = int(target.sum())
    if not 0 < positives < len(target):
        said = f"{what} are {len(target)}, {positives} of them positive"
        how = "from more rows or with fewer folds"
        raise ValueError(f"{said}: both classes are needed, {how}{when}")


def _when(ties: Ties, unseen: Whole) -> str:
    """When the rows of a fold are, for a person who has set its gap and the number of folds."""
    if ties.time is None:
        return ""
    start, end = int(ties.time[unseen].min()), int(ties.time[unseen].max())
    gap = f" or a shorter split.gap_days ({ties.gap / DAY:g})" if ties.gap else ""
    return (
        f"{gap}: it scores the block of {_date(start)} to {_date(end)} by what is older than "
        f"{_date(start - ties.gap)}, and the first row is of {_date(int(ties.time.min()))}"
    )


def _date(moment: int) -> str:
    return f"{datetime(1970, 1, 1) + timedelta(microseconds=moment):%Y-%m-%d}"


def _stratified(target: Floats, count: int, seed: int) -> list[Fold]:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    positives = int(target.sum())
    rarer = min(positives, len(target) - positives)
    if rarer < count:
        raise ValueError(f"{rarer} rows of the rarer class cannot be shared out over {count} folds")
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(target), 1)), target))


def _grouped(target: Floats, group: Whole, count: int, seed: int) -> list[Fold]:
    """Deal the groups out, those with most positives first, then the largest, to and fro.

    scikit-learn's StratifiedGroupKFold looks at every group in turn in Python: 6 s for 20,000.
    """
    import numpy as np

    _, member, size = np.unique(group, return_inverse=True, return_counts=True)
    if len(size) < count:
        raise ValueError(f"{len(size)} groups of rows cannot be shared out over {count} folds")
    positives = np.bincount(member, weights=target)
    chance = np.random.default_rng(seed).permutation(len(size))
    order = np.lexsort((chance, -size, -positives))
    to_and_fro = np.concatenate([np.arange(count), np.arange(count)[::-1]])
    fold = np.empty(len(size), dtype=np.int64)
    fold[order] = np.resize(to_and_fro, len(size))
    of_row = fold[member]
    return [(np.flatnonzero(of_row != f), np.flatnonzero(of_row == f)) for f in range(count)]


def _forward(time: Whole, count: int, ties: Ties) -> list[Fold]:
    import numpy as np

    ordered = np.sort(time)
    starts = ordered[np.arange(1, count + 1) * len(time) // (count + 1)]
    if starts[0] == ordered[0] or len(np.unique(starts)) < count:
        moments = len(np.unique(time))
        raise ValueError(f"{moments} moments cannot be shared out over {count} folds in time")
    made = []
    for start, end in zip(starts, [*starts[1:], ordered[-1] + 1], strict=True):
        unseen = np.flatnonzero((time >= start) & (time < end))
        earlier = time < start - ties.gap
        if ties.group is not None:
            earlier &= ~np.isin(ties.group, ties.group[unseen])
        made.append((np.flatnonzero(earlier), unseen))
    return made
