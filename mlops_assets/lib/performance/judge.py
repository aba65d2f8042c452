"""The answers of a version on a day, as its record has them: measured, estimated, and the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_assets.lib.evaluation.intervals import with_intervals
from mlops_assets.lib.evaluation.slices import groups, slices
from mlops_assets.lib.performance.answers import Answers
from mlops_assets.lib.performance.estimate import estimate, expected
from mlops_assets.lib.spec.performance import Performance
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def judged(answers: Answers, spec: UseCase) -> dict[str, Any]:
    """Judge what a version answered.

    The error is that of the same rows on both sides: of those that have a label.

    Args:
        answers: With their labels, as far as there are any.
        spec: Its ``performance`` says from how many rows on.
    """
    import numpy as np

    score, threshold, seed = answers.probability, answers.threshold, spec.training.seed
    known = ~np.isnan(answers.target)
    rows, labelled = len(score), int(known.sum())
    said, measured, error, looked = [], None, None, []
    why_not = _too_few(answers.target[known], spec.performance)
    if why_not:
        said.append(f"not measured: {why_not}")
    else:
        found = with_intervals(answers.target[known], score[known], threshold, seed=seed)
        measured = {name: interval.as_dict() for name, interval in found.items()}
        guessed = expected(score[known], threshold)
        error = {name: guess - found[name].value for name, guess in guessed.items()}
        looked = _slices(answers, spec, known)
    estimated = None
    least = spec.performance.minimum_rows
    if rows < least:
        said.append(f"not estimated: {rows} answers, and {least} are needed")
    else:
        guesses = estimate(score, threshold, seed=seed)
        estimated = {name: interval.as_dict() for name, interval in guesses.items()} or None
        if estimated is None:
            said.append("not estimated: nearly all outcomes can be expected to be of one class")
    return {
        "version": answers.version,
        "role": answers.role,
        "bundle": answers.bundle,
        "rows": rows,
        "labelled": labelled,
        "threshold": threshold,
        "mean_probability": float(score.mean()) if rows else None,
        "called_positive": float((score >= threshold).mean()) if rows else None,
        "measured": measured,
        "estimated": estimated,
        "error": error,
        "slices": looked,
        "said": said,
    }


def _too_few(target: NDArray[np.float64], plan: Performance) -> str | None:
    """Why these labels measure nothing."""
    labels = len(target)
    if labels < plan.minimum_labels:
        return f"{labels} labels, and {plan.minimum_labels} are needed"
    rarer = int(min(target.sum(), labels - target.sum()))
    if rarer < plan.minimum_of_a_class:
        return (
            f"{rarer} of {labels} labels are of the rarer class, and {plan.minimum_of_a_class} "
            "are needed"
        )
    return None


def _slices(answers: Answers, spec: UseCase, known: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The labelled answers by the values of the slice columns."""
    import pyarrow as pa

    codes = {column.name for column in spec.contract.inputs if column.allowed}
    by_column = {
        # A code is a name and no number.
        name: groups((values.cast(pa.string()) if name in codes else values).filter(known))
        for name, values in answers.slices.items()
    }
    looked = slices(
        by_column,
        answers.target[known],
        answers.probability[known],
        answers.threshold,
        spec.gate.slice_minimum_rows,
    )
    return [each.as_dict() for each in looked]


def rests_on(store: Storage, use_case: str, bundle: str) -> str:
    """What the estimate of a version takes for granted, as far as it was judged."""
    manifest = store.read_json(f"{use_case}/bundles/{bundle}/manifest.json")
    digest = manifest["lineage"]["evaluation"] if manifest else None
    record = store.read_json(f"{use_case}/evaluations/{digest}.json") if digest else None
    if record is None:
        return "the estimate takes a calibration for granted of which nothing is known any more"
    error, slope = record["out_of_fold"]["calibration_error"], record["calibration_slope"]
    told = f" and slope {slope['value']:.2f}" if slope else ""
    return (
        f"the estimate rests on the calibration that was judged before the version was promoted: "
        f"expected error {error['value']:.3f}{told}"
    )
