"""Features that give the outcome away: one of them alone tells nearly all.

What tells so much is mostly the outcome itself under another name, or was written down after it: a
closing date, a code of the treatment. A model of it looks perfect, and knows nothing when it is
asked in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.evaluation.ranked import Ranked, roc_auc
from mlops_assets.lib.training_set.files import ROWS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The rows lie in the order of a hash: the first are as good a sample as any. Of so many, the error
# of a ROC AUC of 0.995 is about a thousandth where one row in a hundred is positive.
MOST_ROWS = 200_000
# With fewer rows of a class, an honest feature parts the classes by chance too often.
LEAST_OF_A_CLASS = 20
READ_ROWS = 1 << 16


@dataclass(frozen=True)
class Telling:
    """What one feature tells of the outcome.

    Attributes:
        roc_auc: Of the feature alone, in the better direction: 0.5 to 1. A missing value counts as
            the largest.
    """

    feature: str
    roc_auc: float


@dataclass(frozen=True)
class Giveaways:
    """What each feature alone tells of the outcome.

    Attributes:
        rows: Rows of the training side that were looked at.
        rarer: How many of them are of the rarer class.
        telling: Every feature, the most telling first; empty where a class is absent.
    """

    rows: int
    rarer: int
    telling: list[Telling]

    def above(self, limit: float) -> list[Telling]:
        """The features that give the outcome away; none where there are too few rows to tell."""
        if self.rarer < LEAST_OF_A_CLASS:
            return []
        return [each for each in self.telling if each.roc_auc > limit]


def giveaways(folder: Path, features: list[str]) -> Giveaways:
    """Look at every feature of a training set alone.

    Args:
        folder: Of the training set.
        features: Names.
    """
    values, target = _sample(folder, features)
    positives = int(target.sum())
    rarer = min(positives, len(target) - positives)
    telling = []
    for name, column in zip(features, values.T, strict=True) if rarer else ():
        found = roc_auc(Ranked(target, column).counts())
        assert found is not None
        telling.append(Telling(name, max(found, 1 - found)))
    return Giveaways(len(target), rarer, sorted(telling, key=lambda t: (-t.roc_auc, t.feature)))


def _sample(folder: Path, features: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features and outcome of the first rows of the training side."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts: list[NDArray[np.float32]] = [np.empty((0, len(features)), dtype=np.float32)]
    targets: list[NDArray[np.float64]] = [np.empty(0)]
    left = MOST_ROWS
    with pq.ParquetFile(folder / ROWS) as file:
        for batch in file.iter_batches(READ_ROWS, columns=["side", "target", *features]):
            train = batch.filter(pc.equal(batch["side"], "train")).slice(0, left)
            values = np.empty((train.num_rows, len(features)), dtype=np.float32)
            for number, name in enumerate(features):
                column = train[name].cast(pa.float32(), safe=False)
                values[:, number] = column.to_numpy(zero_copy_only=False)
            parts.append(values)
            targets.append(train["target"].to_numpy(zero_copy_only=False).astype(np.float64))
            left -= train.num_rows
            if not left:
                break
    return np.concatenate(parts), np.concatenate(targets)
