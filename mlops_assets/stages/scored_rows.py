"""The rows that an evaluation judges, with their scores, and the pictures of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.evaluation import plots, report
from mlops_assets.lib.evaluation.contest import CostCurve
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.slices import Groups, groups
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.onnx_model import predictor
from mlops_assets.lib.training_set.files import INPUTS
from mlops_assets.lib.training_set.rows import read_rows
from mlops_assets.stages import candidates, training_set

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BACKGROUND_ROWS = 32
EXPLAINED_ROWS = 150


@dataclass(frozen=True)
class Scored:
    """The rows of the contest with their scores.

    Attributes:
        names: Of the features.
        target: Of the training rows that a fold scored.
        features: Of the same rows, float32.
        out_of_fold: Of the same rows, by candidate.
        groups: The same rows by the values of the slice columns.
        test_target: Of the test rows.
        test: Of the test rows, by the winner's ONNX model.
        model: The winner's.
    """

    names: list[str]
    target: "Floats"
    features: "NDArray[np.float32]"
    out_of_fold: "dict[str, Floats]"
    groups: dict[str, Groups]
    test_target: "Floats"
    test: "Floats"
    model: "Callable[[NDArray[np.float32]], Floats]"


def score_rows(
    store: Storage,
    spec: UseCase,
    source: dict[str, Any],
    entries: dict[str, dict[str, Any]],
    best: str,
) -> Scored:
    """Read the rows that a contest is judged by, and score the winner's test rows.

    Args:
        store: The storage root.
        spec: The use case.
        source: Record of the training set.
        entries: Records of the candidates, by algorithm.
        best: The winner.
    """
    import numpy as np
    import pandas as pd

    folder = training_set.files(store, spec, source)
    rows = read_rows(folder, source["features"], spec.split)
    side = np.flatnonzero(rows.place < rows.train)
    out_of_fold = {}
    for name, entry in entries.items():
        path = candidates.files(store, spec, entry) / candidates.PREDICTIONS
        out_of_fold[name] = pd.read_parquet(path, columns=["out_of_fold"])[
            "out_of_fold"
        ].to_numpy()[side]
    # In time the oldest rows are scored by no fold, the same ones for every candidate.
    scored = ~np.isnan(out_of_fold[best])
    features, target = rows.features[: rows.train], rows.target[: rows.train]
    model = predictor(candidates.files(store, spec, entries[best]) / candidates.MODEL)
    return Scored(
        source["features"],
        target[scored],
        features[scored],
        {name: scores[scored] for name, scores in out_of_fold.items()},
        _groups(spec, folder / INPUTS, side[scored]),
        rows.target[rows.train :],
        model(rows.features[rows.train :]),
        model,
    )


def _groups(spec: UseCase, inputs: Path, rows: "NDArray[np.int64]") -> dict[str, Groups]:
    """Some rows by the values of the slice columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = {}
    for column in spec.contract.inputs:
        if column.name in spec.gate.slices:
            values = pq.read_table(inputs, columns=[column.name])[column.name].take(rows)
            # A code is a name and no number.
            found[column.name] = groups(values.cast(pa.string()) if column.allowed else values)
    return found


def draw(
    spec: UseCase,
    standings: dict[str, report.Scores],
    best: str,
    scored: Scored,
    record: dict[str, Any],
    slope: Interval | None,
    costs: CostCurve,
) -> dict[str, bytes]:
    """Every picture of the evaluation, by name."""
    from serving.bundle.contributions import contributions

    target = spec.contract.target
    # The rows lie in the order of a hash: the first are as good a sample as any.
    usual, explained = scored.features[-BACKGROUND_ROWS:], scored.features[:EXPLAINED_ROWS]
    values = contributions(scored.model, explained, usual, spec.training.seed)
    return {
        "candidates": plots.contest(standings, best),
        "ROC and precision-recall": plots.curves(scored.target, scored.out_of_fold, best),
        "calibration": plots.calibration(record["calibration"], slope),
        "confusion": plots.confusion(
            record["confusion"], (target.negative_label, target.positive_label)
        ),
        "cost": plots.cost(costs),
        "contributions": plots.contributions(values, explained, scored.names),
    }
