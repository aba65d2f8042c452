"""What the checks ``leakage`` and ``giveaway`` of a training set find, in words and numbers."""

from typing import Any

from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.training_set.assemble import Summary
from mlops_assets.lib.training_set.giveaways import LEAST_OF_A_CLASS, Giveaways
from mlops_assets.lib.training_set.sides import unit

QUESTION = (
    "No entity stands on both sides of the split, and test rows with the inputs of a training row "
    "are few (none where the inputs decide the side); no event is in the future."
)
# So many features are shown that tell most.
TELLING = 5


def leaks(spec: UseCase, summary: Summary) -> list[str]:
    """What the training side may know of the test side, or of the future, in words."""
    split, found, limit = spec.split, [], equal_inputs_limit(spec)
    if summary.equal_inputs > limit * summary.test:
        found.append(
            f"{summary.straddling} distinct inputs stand on both sides, in {summary.equal_inputs} "
            f"of {summary.test} test rows; the limit is {limit:.0%}"
        )
    if summary.straddling_entities and not (split.kind == "time" and split.entity == "shared"):
        found.append(f"{summary.straddling_entities} entities stand on both sides")
    if summary.late:
        found.append(
            f"{summary.late} rows have an event time more than a day after their batch landed"
        )
    if summary.cutoff and summary.latest_train and summary.latest_train >= summary.cutoff:
        found.append(f"training rows go on to {summary.latest_train}, past {summary.cutoff}")
    return found


def equal_inputs_limit(spec: UseCase) -> float:
    """The share of test rows that may have the inputs of a training row."""
    split = spec.split
    by_inputs = unit(spec.contract, split) == [column.name for column in spec.contract.inputs]
    return 0.0 if split.kind == "hash" and by_inputs else float(split.equal_inputs)


def giveaway_answer(
    spec: UseCase, found: Giveaways, digest: str
) -> tuple[bool, str, str, dict[str, Any]]:
    """What is said of the features alone, as ``Checks.result`` takes it."""
    limit = spec.gate.single_feature_auc
    given = found.above(limit)
    most = found.telling[:TELLING]
    shown = ", ".join(f"{each.feature} {each.roc_auc:.4f}" for each in given or most)
    if given:
        said = f"{shown}: a ROC AUC above {limit:g}, alone, in {found.rows} training rows"
    elif found.rarer < LEAST_OF_A_CLASS:
        said = f"{found.rarer} rows of the rarer class are too few to tell; most: {shown or 'none'}"
    else:
        said = f"the most telling alone: {shown}; limit {limit:g}; {found.rows} training rows"
    figures = {each.feature: each.roc_auc for each in most} | {"limit": float(limit)}
    return not given, digest, said, figures
