"""Reading a training set as models take it: float32, the training side first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training.folds import DAY, Ties
from mlops_assets.lib.training_set.files import GROUP, ROWS, TIME

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

READ_ROWS = 1 << 16


@dataclass(frozen=True)
class Rows:
    """The rows of a training set as models take them, those of the training side first.

    Each part is a view: nothing is copied to tell the sides apart.

    Attributes:
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        train: How many are on the training side.
        place: Of each row of the file in these arrays, shape ``[n]``.
        ties: Of the rows on the training side.
    """

    features: NDArray[np.float32]
    target: NDArray[np.float64]
    train: int
    place: NDArray[np.int64]
    ties: Ties


def read_rows(folder: Path, features: list[str], split: Split) -> Rows:
    """Read the rows of a training set by columns, a slice of them at a time.

    Args:
        folder: Of the training set.
        features: Names, in the order of the model's input.
        split: What the training set was made with.
    """
    import numpy as np

    test, outcome, ties = _narrow(folder, features, split)
    train = int((~test).sum())
    place = np.empty(len(test), dtype=np.int64)
    place[~test], place[test] = np.arange(train), np.arange(train, len(test))

    table = np.empty((len(test), len(features)), dtype=np.float32)
    first = 0
    for values in feature_slices(folder, features):
        table[place[first : first + len(values)]] = values
        first += len(values)
    target = np.empty(len(test))
    target[place] = outcome
    return Rows(table, target, train, place, ties)


def training_side(
    folder: Path, features: list[str], split: Split
) -> tuple[NDArray[np.float64], Ties]:
    """The outcome (0 or 1) of the rows on the training side, and what binds them to each other.

    Args:
        folder: Of the training set.
        features: Names, none of which is read.
        split: What the training set was made with.
    """
    test, outcome, ties = _narrow(folder, features, split)
    return outcome[~test], ties


def _narrow(
    folder: Path, features: list[str], split: Split
) -> tuple[NDArray[np.bool_], NDArray[np.float64], Ties]:
    """Of the rows as they lie: which are test rows, and the outcome; the ties of all others."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / ROWS) as file:
        found = set(file.schema_arrow.names) - set(features)
        narrow = file.read(columns=["side", "target", *({GROUP, TIME} & found)])
    test = np.asarray(pc.equal(narrow["side"], "test"))
    group = narrow[GROUP].to_numpy()[~test] if GROUP in found else None
    moments = narrow[TIME].cast(pa.timestamp("us")).cast(pa.int64()) if TIME in found else None
    time = None if moments is None else moments.to_numpy()[~test]
    outcome = narrow["target"].to_numpy().astype(np.float64)
    return test, outcome, Ties(group, time, round(split.gap_days * DAY))


def feature_slices(folder: Path, features: list[str]) -> Iterator[NDArray[np.float32]]:
    """The features of a training set as models take them, some rows at a time.

    Args:
        folder: Of the training set.
        features: Names, in the order of the model's input.

    Yields:
        float32, shape ``[at most READ_ROWS, f]``, NaN for a missing value; rows as the file has
        them.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / ROWS) as file:
        for chunk in file.iter_batches(READ_ROWS, columns=features):
            values = np.empty((chunk.num_rows, len(features)), dtype=np.float32)
            for column, name in enumerate(features):
                of_column = chunk[name].cast(pa.float32(), safe=False)
                values[:, column] = of_column.to_numpy(zero_copy_only=False)
            yield values
