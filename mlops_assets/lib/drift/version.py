"""A window against the version that is to judge, or has judged, its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlops_assets.lib.drift.profile import measure_means
from mlops_assets.lib.drift.reference import Rows, Trained
from mlops_assets.lib.drift.sides import Column, Pair, connected, count
from mlops_assets.lib.drift.window import Window, compare, judge, too_few
from mlops_assets.lib.spec.drift import Drift
from serving.bundle.contract import Contract

SCORE = "score"


@dataclass(frozen=True)
class Current:
    """Relations of the rows of a window.

    Attributes:
        rows: The inputs, and the features if they are there.
        scores: ``probability``, as the version gave it; None where there are none.
        inputs: Prefix of the inputs in ``rows``.
        features: Prefix of the features in ``rows``; None where they are not there.
    """

    rows: str
    scores: str | None
    inputs: str = ""
    features: str | None = None


def judged(known: Trained, current: Current, plan: Drift) -> Window:
    """Judge a window by the rows that a version was trained on, or by their profile."""
    columns = inputs(known.contract, current.inputs)
    if known.rows is not None:
        found = compare(pairs(known, known.rows, current), plan)
    else:
        found = _by_profile(known, current, columns, plan)
    times = [column.name for column in known.contract.columns if column.type == "timestamp"]
    said = [f"{name} is not compared: time goes on by itself" for name in times]
    return replace(found, left_out=[*found.left_out, *said])


def _by_profile(known: Trained, current: Current, columns: list[Column], plan: Drift) -> Window:
    reference_rows = known.profile["rows"]
    with connected() as database:
        rows = count(database, current.rows)
        why_not = too_few(reference_rows, rows, plan.minimum_rows)
        if why_not is not None:
            return Window(rows, reference_rows, why_not=why_not)
        measured, left_out = measure_means(
            database, known.profile, current.rows, columns, plan.minimum_rows
        )
    return judge(measured, left_out, rows, reference_rows, plan)


def inputs(contract: Contract, prefix: str) -> list[Column]:
    """The inputs to compare, which the current rows have under a prefix."""
    return [
        Column(
            column.name,
            "input",
            column.type in ("integer", "number") and column.allowed is None,
            column.name,
            prefix + column.name,
        )
        for column in contract.columns
        if column.type != "timestamp"
    ]


def pairs(known: Trained, rows: Rows, current: Current) -> list[Pair]:
    """What is compared, the inputs first."""
    found = [Pair(rows.inputs, current.rows, inputs(known.contract, current.inputs))]
    if current.scores is not None:
        score = Column(SCORE, "score", True, "probability", "probability")
        found.append(Pair(rows.scores, current.scores, [score]))
    if current.features is not None:
        features = [
            Column(name, "feature", True, name, current.features + name) for name in known.features
        ]
        found.append(Pair(rows.features, current.rows, features))
    return found
